import { describe, expect, it } from "vitest";
import type { GuestAddress } from "../../util/guest-address.js";
import { CpuState } from "../cpu.js";
import { InstructionDecoder, isDecodeFailure } from "../decode.js";
import type { MemoryPort } from "../evaluate.js";
import { Evaluator } from "../evaluate.js";
import type { Bytes } from "../ir.js";
import { liftVector } from "./vector.js";

/** The state that all lines of the table begin with. RDI is the address of memory; all arithmetic flags are set. */
const XMM = [
  "00017f80ff800080ff7f3412ffffffff",
  "ff0180017fff0080ff7f800000000080",
  "05000000000000008081fe0f0c830002",
] as const;
const RAX = "efcdab8967452301";
const MEMORY = "80ff7f0001fe55aa33cc0f81102030400123456789abcdeffedcba9876543210";
const FLAGS = "8d5";

/**
 * What a processor made of it, bytes in their order in memory: code, text, and the new value of what the instruction
 * changes (its first operand; memory, for stores; the flags, for ptest).
 */
const MEASURED = `
  660fdbc1          pand xmm0, xmm1                    000100007f800080ff7f000000000080
  660fdb07          pand xmm0, [rdi]                   00017f0001800080334c040010203040
  0f54c1            andps xmm0, xmm1                   000100007f800080ff7f000000000080
  660f54c1          andpd xmm0, xmm1                   000100007f800080ff7f000000000080
  660fdfc1          pandn xmm0, xmm1                   ff008001007f00000000800000000000
  660fdf07          pandn xmm0, [rdi]                  80fe0000007e552a00800b8100000000
  660fdfc0          pandn xmm0, xmm0                   00000000000000000000000000000000
  0f55c1            andnps xmm0, xmm1                  ff008001007f00000000800000000000
  660f55c1          andnpd xmm0, xmm1                  ff008001007f00000000800000000000
  660febc1          por xmm0, xmm1                     ff01ff81ffff0080ff7fb412ffffffff
  0f56c1            orps xmm0, xmm1                    ff01ff81ffff0080ff7fb412ffffffff
  660f56c1          orpd xmm0, xmm1                    ff01ff81ffff0080ff7fb412ffffffff
  660fefc1          pxor xmm0, xmm1                    ff00ff81807f00000000b412ffffff7f
  660fefc0          pxor xmm0, xmm0                    00000000000000000000000000000000
  0f57c1            xorps xmm0, xmm1                   ff00ff81807f00000000b412ffffff7f
  0f57c0            xorps xmm0, xmm0                   00000000000000000000000000000000
  660f57c1          xorpd xmm0, xmm1                   ff00ff81807f00000000b412ffffff7f
  660ffcc1          paddb xmm0, xmm1                   ff02ff817e7f0000fefeb412ffffff7f
  660ffc07          paddb xmm0, [rdi]                  8000fe80007e552a324b43930f1f2f3f
  660ffcc0          paddb xmm0, xmm0                   0002fe00fe000000fefe6824fefefefe
  660ffdc1          paddw xmm0, xmm1                   ff02ff817e800000feffb412ffffff7f
  660ffec1          paddd xmm0, xmm1                   ff02ff817e800100feffb412ffffff7f
  660fd4c1          paddq xmm0, xmm1                   ff02ff817e800100feffb412ffffff7f
  660fecc1          paddsb xmm0, xmm1                  ff02ff817e800080fe7fb412ffffff80
  660fedc1          paddsw xmm0, xmm1                  ff02ff817e800080ff7fb412ffff0080
  660fdcc1          paddusb xmm0, xmm1                 ff02ff81ffff00fffffeb412ffffffff
  660fddc1          paddusw xmm0, xmm1                 ff02ff81fffffffffeffb412ffffffff
  660ff8c1          psubb xmm0, xmm1                   0100ff7f808100000000b412ffffff7f
  660ff9c1          psubw xmm0, xmm1                   01ffff7e808100000000b411ffffff7f
  660ffac1          psubd xmm0, xmm1                   01fffe7e8081ffff0000b411ffffff7f
  660ffa07          psubd xmm0, [rdi]                  8001ff7ffe82aad5ccb32491efdfcfbf
  660ffac0          psubd xmm0, xmm0                   00000000000000000000000000000000
  660ffbc1          psubq xmm0, xmm1                   01fffe7e8081ffff0000b411ffffff7f
  660fe8c1          psubsb xmm0, xmm1                  01007f808081000000007f12ffffff7f
  660fe9c1          psubsw xmm0, xmm1                  01ff0080808100000000b411ffffff7f
  660fd8c1          psubusb xmm0, xmm1                 0000007f8000000000000012ffffff7f
  660fd9c1          psubusw xmm0, xmm1                 0000ff7e000000000000b411ffffff7f
  660fd5c1          pmullw xmm0, xmm1                  00ff80be81ff00000100001a00000080
  660f3840c1        pmulld xmm0, xmm1                  00ff82fd81ffbd8001004b2d00000080
  660fe5c1          pmulhw xmm0, xmm1                  010040ff3f000040ff3f090000000000
  660fe4c1          pmulhuw xmm0, xmm1                 0100c000bd800040ff3f09000000ff7f
  660ff4c1          pmuludq xmm0, xmm1                 00ff82fd81bfc00001004b2d5a230900
  660f3828c1        pmuldq xmm0, xmm1                  00ff82fd82bd40ff01004b2d5a230900
  660f380bc1        pmulhrsw xmm0, xmm1                040081fe80000080fe7f120000000100
  660ff5c1          pmaddwd xmm0, xmm1                 80bd42ff81ff3f40011a084000800000
  660f3804c1        pmaddubsw xmm0, xmm1               010000c1017e00c0023e00e600008080
  660ff6c1          psadbw xmm0, xmm1                  7e02000000000000da03000000000000
  660fe0c1          pavgb xmm0, xmm1                   80018041bfc00080ff7f5a09808080c0
  660fe3c1          pavgw xmm0, xmm1                   800100413fc00080ff7f5a09008000c0
  660f74c1          pcmpeqb xmm0, xmm1                 00ff00000000ffffffff000000000000
  660f75c1          pcmpeqw xmm0, xmm1                 000000000000ffffffff000000000000
  660f76c1          pcmpeqd xmm0, xmm1                 00000000000000000000000000000000
  660f76c0          pcmpeqd xmm0, xmm0                 ffffffffffffffffffffffffffffffff
  660f3829c1        pcmpeqq xmm0, xmm1                 00000000000000000000000000000000
  660f64c1          pcmpgtb xmm0, xmm1                 ff00ff00000000000000ffff000000ff
  660f64c0          pcmpgtb xmm0, xmm0                 00000000000000000000000000000000
  660f65c1          pcmpgtw xmm0, xmm1                 00000000000000000000ffff0000ffff
  660f66c1          pcmpgtd xmm0, xmm1                 0000000000000000ffffffffffffffff
  660f3837c1        pcmpgtq xmm0, xmm1                 0000000000000000ffffffffffffffff
  660f3838c1        pminsb xmm0, xmm1                  ff018080ff800080ff7f8000ffffff80
  660feac1          pminsw xmm0, xmm1                  00017f80ff800080ff7f8000ffff0080
  660f3839c1        pminsd xmm0, xmm1                  00017f80ff800080ff7f800000000080
  660fdac1          pminub xmm0, xmm1                  00017f017f800080ff7f340000000080
  660f383ac1        pminuw xmm0, xmm1                  00018001ff800080ff7f800000000080
  660f383bc1        pminud xmm0, xmm1                  ff018001ff800080ff7f800000000080
  660f383cc1        pmaxsb xmm0, xmm1                  00017f017fff0080ff7f3412000000ff
  660feec1          pmaxsw xmm0, xmm1                  ff0180017fff0080ff7f34120000ffff
  660f383dc1        pmaxsd xmm0, xmm1                  ff0180017fff0080ff7f3412ffffffff
  660fdec1          pmaxub xmm0, xmm1                  ff018080ffff0080ff7f8012ffffffff
  660f383ec1        pmaxuw xmm0, xmm1                  ff017f807fff0080ff7f3412ffffffff
  660f383fc1        pmaxud xmm0, xmm1                  00017f807fff0080ff7f3412ffffffff
  660f381cc1        pabsb xmm0, xmm1                   010180017f010080017f800000000080
  660f381dc1        pabsw xmm0, xmm1                   ff01800181000080ff7f800000000080
  660f381ec1        pabsd xmm0, xmm1                   ff0180018100ff7fff7f800000000080
  660f3808c1        psignb xmm0, xmm1                  00018180ff800080017fcc0000000001
  660f3809c1        psignw xmm0, xmm1                  00017f80017f0080ff7f341200000100
  660f380ac1        psignd xmm0, xmm1                  00017f80017fff7fff7f341201000000
  660f3801c1        phaddw xmm0, xmm1                  7f81ff003392feff7f037f7f7f800080
  660f3802c1        phaddd xmm0, xmm1                  ff817f00fe7f34127e018181ff7f8080
  660f3803c1        phaddsw xmm0, xmm1                 7f810080ff7ffeff7f030080ff7f0080
  660f3805c1        phsubw xmm0, xmm1                  8180ff00cb6d00007f007f7f7f7f0080
  660f3806c1        phsubd xmm0, xmm1                  01807e000080341280027f81ff7f8080
  660f3807c1        phsubsw xmm0, xmm1                 ff7fff00cb6d00007f007f7f7f7fff7f
  660f3817c1        ptest xmm0, xmm1                   000
  660f381707        ptest xmm0, [rdi]                  000
  660f63c1          packsswb xmm0, xmm1                7f8080807f7fffff7f7f80807f7f0080
  660f67c1          packuswb xmm0, xmm1                ff000000ffff0000ffff0000ff800000
  660f6707          packuswb xmm0, [rdi]               ff000000ffff0000007f00000000ffff
  660f6bc1          packssdw xmm0, xmm1                00800080ff7fffffff7f0080ff7f0080
  660f382bc1        packusdw xmm0, xmm1                00000000ffff0000ffff0000ffff0000
  660ff1c1          psllw xmm0, xmm1                   00000000000000000000000000000000
  660ff1c2          psllw xmm0, xmm2                   0020e00fe01f0000e0ff8046e0ffe0ff
  660ff2c1          pslld xmm0, xmm1                   00000000000000000000000000000000
  660ff2c2          pslld xmm0, xmm2                   0020e00fe01f1000e0ff8f46e0ffffff
  660ff3c1          psllq xmm0, xmm1                   00000000000000000000000000000000
  660ff3c2          psllq xmm0, xmm2                   0020e00ff01f1000e0ff8f46e2ffffff
  660fd1c1          psrlw xmm0, xmm1                   00000000000000000000000000000000
  660fd1c2          psrlw xmm0, xmm2                   0800030407040004ff039100ff07ff07
  660fd107          psrlw xmm0, [rdi]                  00000000000000000000000000000000
  660fd2c1          psrld xmm0, xmm1                   00000000000000000000000000000000
  660fd2c2          psrld xmm0, xmm2                   08f8030407040004ffa39100ffffff07
  660fd3c1          psrlq xmm0, xmm1                   00000000000000000000000000000000
  660fd3c2          psrlq xmm0, xmm2                   08f803fc07040004ffa391f8ffffff07
  660fe1c1          psraw xmm0, xmm1                   0000ffffffffffff00000000ffffffff
  660fe1c2          psraw xmm0, xmm2                   080003fc07fc00fcff039100ffffffff
  660fe2c1          psrad xmm0, xmm1                   ffffffffffffffff00000000ffffffff
  660fe2c2          psrad xmm0, xmm2                   08f803fc070400fcffa39100ffffffff
  660fe207          psrad xmm0, [rdi]                  ffffffffffffffff00000000ffffffff
  660f3800c1        pshufb xmm0, xmm1                  00010001ff00000000ff000000000000
  660f380007        pshufb xmm0, [rdi]                 0000ff00010080008000ff0000000000
  660f60c1          punpcklbw xmm0, xmm1               00ff01017f808001ff7f80ff00008080
  660f61c1          punpcklwd xmm0, xmm1               0001ff017f808001ff807fff00800080
  660f62c1          punpckldq xmm0, xmm1               00017f80ff018001ff8000807fff0080
  660f6cc1          punpcklqdq xmm0, xmm1              00017f80ff800080ff0180017fff0080
  660f68c1          punpckhbw xmm0, xmm1               ffff7f7f34801200ff00ff00ff00ff80
  660f69c1          punpckhwd xmm0, xmm1               ff7fff7f34128000ffff0000ffff0080
  660f6ac1          punpckhdq xmm0, xmm1               ff7f3412ff7f8000ffffffff00000080
  660f6a07          punpckhdq xmm0, [rdi]              ff7f341233cc0f81ffffffff10203040
  660f6dc1          punpckhqdq xmm0, xmm1              ff7f3412ffffffffff7f800000000080
  0f14c1            unpcklps xmm0, xmm1                00017f80ff018001ff8000807fff0080
  660f14c1          unpcklpd xmm0, xmm1                00017f80ff800080ff0180017fff0080
  0f15c1            unpckhps xmm0, xmm1                ff7f3412ff7f8000ffffffff00000080
  660f15c1          unpckhpd xmm0, xmm1                ff7f3412ffffffffff7f800000000080
  0f28c1            movaps xmm0, xmm1                  ff0180017fff0080ff7f800000000080
  0f2807            movaps xmm0, [rdi]                 80ff7f0001fe55aa33cc0f8110203040
  660f28c1          movapd xmm0, xmm1                  ff0180017fff0080ff7f800000000080
  660f2807          movapd xmm0, [rdi]                 80ff7f0001fe55aa33cc0f8110203040
  660f6fc1          movdqa xmm0, xmm1                  ff0180017fff0080ff7f800000000080
  660f6f07          movdqa xmm0, [rdi]                 80ff7f0001fe55aa33cc0f8110203040
  0f10c1            movups xmm0, xmm1                  ff0180017fff0080ff7f800000000080
  0f1007            movups xmm0, [rdi]                 80ff7f0001fe55aa33cc0f8110203040
  660f10c1          movupd xmm0, xmm1                  ff0180017fff0080ff7f800000000080
  660f1007          movupd xmm0, [rdi]                 80ff7f0001fe55aa33cc0f8110203040
  f30f6fc1          movdqu xmm0, xmm1                  ff0180017fff0080ff7f800000000080
  f30f6f07          movdqu xmm0, [rdi]                 80ff7f0001fe55aa33cc0f8110203040
  f30f12c1          movsldup xmm0, xmm1                ff018001ff018001ff7f8000ff7f8000
  f30f1207          movsldup xmm0, [rdi]               80ff7f0080ff7f0033cc0f8133cc0f81
  f30f16c1          movshdup xmm0, xmm1                7fff00807fff00800000008000000080
  f30f1607          movshdup xmm0, [rdi]               01fe55aa01fe55aa1020304010203040
  660f70c100        pshufd xmm0, xmm1, 0               ff018001ff018001ff018001ff018001
  660f70c11b        pshufd xmm0, xmm1, 27              00000080ff7f80007fff0080ff018001
  660f70c14e        pshufd xmm0, xmm1, 78              ff7f800000000080ff0180017fff0080
  660f70c1ff        pshufd xmm0, xmm1, 255             00000080000000800000008000000080
  660f70c1b1        pshufd xmm0, xmm1, 177             7fff0080ff01800100000080ff7f8000
  660f7007b1        pshufd xmm0, [rdi], 177            01fe55aa80ff7f001020304033cc0f81
  f20f70c11b        pshuflw xmm0, xmm1, 27             00807fff8001ff01ff7f800000000080
  f20f70c1e4        pshuflw xmm0, xmm1, 228            ff0180017fff0080ff7f800000000080
  f20f70c193        pshuflw xmm0, xmm1, 147            0080ff0180017fffff7f800000000080
  f30f70c11b        pshufhw xmm0, xmm1, 27             ff0180017fff0080008000008000ff7f
  f30f70c1e4        pshufhw xmm0, xmm1, 228            ff0180017fff0080ff7f800000000080
  f30f70c193        pshufhw xmm0, xmm1, 147            ff0180017fff00800080ff7f80000000
  0fc6c100          shufps xmm0, xmm1, 0               00017f8000017f80ff018001ff018001
  0fc6c11b          shufps xmm0, xmm1, 27              ffffffffff7f34127fff0080ff018001
  0fc6c14e          shufps xmm0, xmm1, 78              ff7f3412ffffffffff0180017fff0080
  0fc6c1d8          shufps xmm0, xmm1, 216             00017f80ff7f34127fff008000000080
  0fc607d8          shufps xmm0, [rdi], 216            00017f80ff7f341201fe55aa10203040
  660fc6c100        shufpd xmm0, xmm1, 0               00017f80ff800080ff0180017fff0080
  660fc6c101        shufpd xmm0, xmm1, 1               ff7f3412ffffffffff0180017fff0080
  660fc6c102        shufpd xmm0, xmm1, 2               00017f80ff800080ff7f800000000080
  660fc6c103        shufpd xmm0, xmm1, 3               ff7f3412ffffffffff7f800000000080
  660f3a0fc100      palignr xmm0, xmm1, 0              ff0180017fff0080ff7f800000000080
  660f3a0fc101      palignr xmm0, xmm1, 1              0180017fff0080ff7f80000000008000
  660f3a0fc108      palignr xmm0, xmm1, 8              ff7f80000000008000017f80ff800080
  660f3a0fc10f      palignr xmm0, xmm1, 15             8000017f80ff800080ff7f3412ffffff
  660f3a0fc110      palignr xmm0, xmm1, 16             00017f80ff800080ff7f3412ffffffff
  660f3a0fc111      palignr xmm0, xmm1, 17             017f80ff800080ff7f3412ffffffff00
  660f3a0fc118      palignr xmm0, xmm1, 24             ff7f3412ffffffff0000000000000000
  660f3a0fc11f      palignr xmm0, xmm1, 31             ff000000000000000000000000000000
  660f3a0fc120      palignr xmm0, xmm1, 32             00000000000000000000000000000000
  660f3a0fc1c8      palignr xmm0, xmm1, 200            00000000000000000000000000000000
  660f3a0f07c8      palignr xmm0, [rdi], 200           00000000000000000000000000000000
  660f3a0ec100      pblendw xmm0, xmm1, 0              00017f80ff800080ff7f3412ffffffff
  660f3a0ec1ff      pblendw xmm0, xmm1, 255            ff0180017fff0080ff7f800000000080
  660f3a0ec155      pblendw xmm0, xmm1, 85             ff017f807fff0080ff7f34120000ffff
  660f3a0ec13c      pblendw xmm0, xmm1, 60             00017f807fff0080ff7f8000ffffffff
  660f3a0cc105      blendps xmm0, xmm1, 5              ff018001ff800080ff7f8000ffffffff
  660f3a0cc10a      blendps xmm0, xmm1, 10             00017f807fff0080ff7f341200000080
  660f3a0cc10f      blendps xmm0, xmm1, 15             ff0180017fff0080ff7f800000000080
  660f3a0dc101      blendpd xmm0, xmm1, 1              ff0180017fff0080ff7f3412ffffffff
  660f3a0dc102      blendpd xmm0, xmm1, 2              00017f80ff800080ff7f800000000080
  660f3a0dc103      blendpd xmm0, xmm1, 3              ff0180017fff0080ff7f800000000080
  660f71f000        psllw xmm0, 0                      00017f80ff800080ff7f3412ffffffff
  660f71f001        psllw xmm0, 1                      0002fe00fe010000feff6824fefffeff
  660f71f007        psllw xmm0, 7                      0080803f807f000080ff001a80ff80ff
  660f71f00f        psllw xmm0, 15                     00000080008000000080000000800080
  660f71f010        psllw xmm0, 16                     00000000000000000000000000000000
  660f71f0c8        psllw xmm0, 200                    00000000000000000000000000000000
  660f71d000        psrlw xmm0, 0                      00017f80ff800080ff7f3412ffffffff
  660f71d001        psrlw xmm0, 1                      80003f407f400040ff3f1a09ff7fff7f
  660f71d007        psrlw xmm0, 7                      0200000101010001ff002400ff01ff01
  660f71d00f        psrlw xmm0, 15                     00000100010001000000000001000100
  660f71d010        psrlw xmm0, 16                     00000000000000000000000000000000
  660f71d0c8        psrlw xmm0, 200                    00000000000000000000000000000000
  660f71e000        psraw xmm0, 0                      00017f80ff800080ff7f3412ffffffff
  660f71e001        psraw xmm0, 1                      80003fc07fc000c0ff3f1a09ffffffff
  660f71e007        psraw xmm0, 7                      020000ff01ff00ffff002400ffffffff
  660f71e00f        psraw xmm0, 15                     0000ffffffffffff00000000ffffffff
  660f71e010        psraw xmm0, 16                     0000ffffffffffff00000000ffffffff
  660f71e0c8        psraw xmm0, 200                    0000ffffffffffff00000000ffffffff
  660f72f000        pslld xmm0, 0                      00017f80ff800080ff7f3412ffffffff
  660f72f001        pslld xmm0, 1                      0002fe00fe010100feff6824feffffff
  660f72f011        pslld xmm0, 17                     000000020000fe010000feff0000feff
  660f72f01f        pslld xmm0, 31                     00000000000000800000008000000080
  660f72f020        pslld xmm0, 32                     00000000000000000000000000000000
  660f72f0ff        pslld xmm0, 255                    00000000000000000000000000000000
  660f72d000        psrld xmm0, 0                      00017f80ff800080ff7f3412ffffffff
  660f72d001        psrld xmm0, 1                      80803f407f400040ff3f1a09ffffff7f
  660f72d011        psrld xmm0, 17                     3f400000004000001a090000ff7f0000
  660f72d01f        psrld xmm0, 31                     01000000010000000000000001000000
  660f72d020        psrld xmm0, 32                     00000000000000000000000000000000
  660f72d0ff        psrld xmm0, 255                    00000000000000000000000000000000
  660f72e000        psrad xmm0, 0                      00017f80ff800080ff7f3412ffffffff
  660f72e001        psrad xmm0, 1                      80803fc07f4000c0ff3f1a09ffffffff
  660f72e011        psrad xmm0, 17                     3fc0ffff00c0ffff1a090000ffffffff
  660f72e01f        psrad xmm0, 31                     ffffffffffffffff00000000ffffffff
  660f72e020        psrad xmm0, 32                     ffffffffffffffff00000000ffffffff
  660f72e0ff        psrad xmm0, 255                    ffffffffffffffff00000000ffffffff
  660f73f000        psllq xmm0, 0                      00017f80ff800080ff7f3412ffffffff
  660f73f001        psllq xmm0, 1                      0002fe00ff010100feff6824feffffff
  660f73f021        psllq xmm0, 33                     000000000002fe0000000000feff6824
  660f73f03f        psllq xmm0, 63                     00000000000000000000000000000080
  660f73f040        psllq xmm0, 64                     00000000000000000000000000000000
  660f73f0ff        psllq xmm0, 255                    00000000000000000000000000000000
  660f73d000        psrlq xmm0, 0                      00017f80ff800080ff7f3412ffffffff
  660f73d001        psrlq xmm0, 1                      80803fc07f400040ff3f1a89ffffff7f
  660f73d021        psrlq xmm0, 33                     7f40004000000000ffffff7f00000000
  660f73d03f        psrlq xmm0, 63                     01000000000000000100000000000000
  660f73d040        psrlq xmm0, 64                     00000000000000000000000000000000
  660f73d0ff        psrlq xmm0, 255                    00000000000000000000000000000000
  660f73f800        pslldq xmm0, 0                     00017f80ff800080ff7f3412ffffffff
  660f73f801        pslldq xmm0, 1                     0000017f80ff800080ff7f3412ffffff
  660f73f808        pslldq xmm0, 8                     000000000000000000017f80ff800080
  660f73f80f        pslldq xmm0, 15                    00000000000000000000000000000000
  660f73f810        pslldq xmm0, 16                    00000000000000000000000000000000
  660f73f864        pslldq xmm0, 100                   00000000000000000000000000000000
  660f73d800        psrldq xmm0, 0                     00017f80ff800080ff7f3412ffffffff
  660f73d801        psrldq xmm0, 1                     017f80ff800080ff7f3412ffffffff00
  660f73d808        psrldq xmm0, 8                     ff7f3412ffffffff0000000000000000
  660f73d80f        psrldq xmm0, 15                    ff000000000000000000000000000000
  660f73d810        psrldq xmm0, 16                    00000000000000000000000000000000
  660f73d864        psrldq xmm0, 100                   00000000000000000000000000000000
  660f3820c1        pmovsxbw xmm0, xmm1                ffff010080ff01007f00ffff000080ff
  660f38204703      pmovsxbw xmm0, [rdi+3]             00000100feff5500aaff3300ccff0f00
  660f3830c1        pmovzxbw xmm0, xmm1                ff000100800001007f00ff0000008000
  660f38304703      pmovzxbw xmm0, [rdi+3]             00000100fe005500aa003300cc000f00
  660f3821c1        pmovsxbd xmm0, xmm1                ffffffff0100000080ffffff01000000
  660f38214703      pmovsxbd xmm0, [rdi+3]             0000000001000000feffffff55000000
  660f3831c1        pmovzxbd xmm0, xmm1                ff000000010000008000000001000000
  660f38314703      pmovzxbd xmm0, [rdi+3]             0000000001000000fe00000055000000
  660f3822c1        pmovsxbq xmm0, xmm1                ffffffffffffffff0100000000000000
  660f38224703      pmovsxbq xmm0, [rdi+3]             00000000000000000100000000000000
  660f3832c1        pmovzxbq xmm0, xmm1                ff000000000000000100000000000000
  660f38324703      pmovzxbq xmm0, [rdi+3]             00000000000000000100000000000000
  660f3823c1        pmovsxwd xmm0, xmm1                ff010000800100007fffffff0080ffff
  660f38234703      pmovsxwd xmm0, [rdi+3]             00010000fe550000aa330000cc0f0000
  660f3833c1        pmovzxwd xmm0, xmm1                ff010000800100007fff000000800000
  660f38334703      pmovzxwd xmm0, [rdi+3]             00010000fe550000aa330000cc0f0000
  660f3824c1        pmovsxwq xmm0, xmm1                ff010000000000008001000000000000
  660f38244703      pmovsxwq xmm0, [rdi+3]             0001000000000000fe55000000000000
  660f3834c1        pmovzxwq xmm0, xmm1                ff010000000000008001000000000000
  660f38344703      pmovzxwq xmm0, [rdi+3]             0001000000000000fe55000000000000
  660f3825c1        pmovsxdq xmm0, xmm1                ff018001000000007fff0080ffffffff
  660f38254703      pmovsxdq xmm0, [rdi+3]             0001fe5500000000aa33cc0f00000000
  660f3835c1        pmovzxdq xmm0, xmm1                ff018001000000007fff008000000000
  660f38354703      pmovzxdq xmm0, [rdi+3]             0001fe5500000000aa33cc0f00000000
  660f3810ca        pblendvb xmm1, xmm2, xmm0          ff01800000000000807f80000c830002
  660f38100f        pblendvb xmm1, [rdi], xmm0         ff01800001fe00aa337f800010203040
  660f3814ca        blendvps xmm1, xmm2, xmm0          0500000000000000ff7f80000c830002
  660f38140f        blendvps xmm1, [rdi], xmm0         80ff7f0001fe55aaff7f800010203040
  660f3815ca        blendvpd xmm1, xmm2, xmm0          05000000000000008081fe0f0c830002
  660f38150f        blendvpd xmm1, [rdi], xmm0         80ff7f0001fe55aa33cc0f8110203040
  f30f10c1          movss xmm0, xmm1                   ff018001ff800080ff7f3412ffffffff
  f30f104705        movss xmm0, dword [rdi+5]          fe55aa33000000000000000000000000
  f30f114705        movss dword [rdi+5], xmm0          80ff7f000100017f80cc0f81102030400123456789abcdeffedcba9876543210
  f20f10c1          movsd xmm0, xmm1                   ff0180017fff0080ff7f3412ffffffff
  f20f104705        movsd xmm0, qword [rdi+5]          fe55aa33cc0f81100000000000000000
  f20f114705        movsd qword [rdi+5], xmm0          80ff7f000100017f80ff8000802030400123456789abcdeffedcba9876543210
  0f124703          movlps xmm0, qword [rdi+3]         0001fe55aa33cc0fff7f3412ffffffff
  0f134703          movlps qword [rdi+3], xmm0         80ff7f00017f80ff80008081102030400123456789abcdeffedcba9876543210
  660f124703        movlpd xmm0, qword [rdi+3]         0001fe55aa33cc0fff7f3412ffffffff
  660f134703        movlpd qword [rdi+3], xmm0         80ff7f00017f80ff80008081102030400123456789abcdeffedcba9876543210
  0f164703          movhps xmm0, qword [rdi+3]         00017f80ff8000800001fe55aa33cc0f
  0f174703          movhps qword [rdi+3], xmm0         80ff7fff7f3412ffffffff81102030400123456789abcdeffedcba9876543210
  660f164703        movhpd xmm0, qword [rdi+3]         00017f80ff8000800001fe55aa33cc0f
  660f174703        movhpd qword [rdi+3], xmm0         80ff7fff7f3412ffffffff81102030400123456789abcdeffedcba9876543210
  0f12c1            movhlps xmm0, xmm1                 ff7f800000000080ff7f3412ffffffff
  0f16c1            movlhps xmm0, xmm1                 00017f80ff800080ff0180017fff0080
  f20f12c1          movddup xmm0, xmm1                 ff0180017fff0080ff0180017fff0080
  f20f124701        movddup xmm0, qword [rdi+1]        ff7f0001fe55aa33ff7f0001fe55aa33
  660f6ec0          movd xmm0, eax                     efcdab89000000000000000000000000
  660f7ec0          movd eax, xmm0                     00017f8000000000
  660f6e4701        movd xmm0, dword [rdi+1]           ff7f0001000000000000000000000000
  660f7e4701        movd dword [rdi+1], xmm0           8000017f80fe55aa33cc0f81102030400123456789abcdeffedcba9876543210
  66480f6ec0        movq xmm0, rax                     efcdab89674523010000000000000000
  66480f7ec0        movq rax, xmm0                     00017f80ff800080
  f30f7ec1          movq xmm0, xmm1                    ff0180017fff00800000000000000000
  f30f7e4701        movq xmm0, qword [rdi+1]           ff7f0001fe55aa330000000000000000
  660fd64701        movq qword [rdi+1], xmm0           8000017f80ff800080cc0f81102030400123456789abcdeffedcba9876543210
  0f2907            movaps [rdi], xmm0                 00017f80ff800080ff7f3412ffffffff0123456789abcdeffedcba9876543210
  660f2907          movapd [rdi], xmm0                 00017f80ff800080ff7f3412ffffffff0123456789abcdeffedcba9876543210
  660f7f07          movdqa [rdi], xmm0                 00017f80ff800080ff7f3412ffffffff0123456789abcdeffedcba9876543210
  0f114701          movups [rdi+1], xmm0               8000017f80ff800080ff7f3412ffffffff23456789abcdeffedcba9876543210
  660f114701        movupd [rdi+1], xmm0               8000017f80ff800080ff7f3412ffffffff23456789abcdeffedcba9876543210
  f30f7f4701        movdqu [rdi+1], xmm0               8000017f80ff800080ff7f3412ffffffff23456789abcdeffedcba9876543210
  0f2b07            movntps [rdi], xmm0                00017f80ff800080ff7f3412ffffffff0123456789abcdeffedcba9876543210
  660f2b07          movntpd [rdi], xmm0                00017f80ff800080ff7f3412ffffffff0123456789abcdeffedcba9876543210
  660fe707          movntdq [rdi], xmm0                00017f80ff800080ff7f3412ffffffff0123456789abcdeffedcba9876543210
  660f382a07        movntdqa xmm0, [rdi]               80ff7f0001fe55aa33cc0f8110203040
  f20ff04707        lddqu xmm0, [rdi+7]                aa33cc0f81102030400123456789abcd
  0f104701          movups xmm0, [rdi+1]               ff7f0001fe55aa33cc0f811020304001
  f30f6f4709        movdqu xmm0, [rdi+9]               cc0f81102030400123456789abcdeffe
  0f50c0            movmskps eax, xmm0                 0b00000000000000
  660f50c0          movmskpd eax, xmm0                 0300000000000000
  660fd7c0          pmovmskb eax, xmm0                 b8f1000000000000
  0f50c1            movmskps eax, xmm1                 0a00000000000000
  660fd7c1          pmovmskb eax, xmm1                 a585000000000000
  660ff7c1          maskmovdqu xmm0, xmm1              00ff7f0001805580ffcc3481102030ff0123456789abcdeffedcba9876543210
  660f3a20c000      pinsrb xmm0, eax, 0                ef017f80ff800080ff7f3412ffffffff
  660f3a20470100    pinsrb xmm0, byte [rdi+1], 0       ff017f80ff800080ff7f3412ffffffff
  660f3a14c000      pextrb eax, xmm0, 0                0000000000000000
  660f3a14470100    pextrb byte [rdi+1], xmm0, 0       80007f0001fe55aa33cc0f81102030400123456789abcdeffedcba9876543210
  660f3a20c003      pinsrb xmm0, eax, 3                00017fefff800080ff7f3412ffffffff
  660f3a20470103    pinsrb xmm0, byte [rdi+1], 3       00017fffff800080ff7f3412ffffffff
  660f3a14c003      pextrb eax, xmm0, 3                8000000000000000
  660f3a14470103    pextrb byte [rdi+1], xmm0, 3       80807f0001fe55aa33cc0f81102030400123456789abcdeffedcba9876543210
  660f3a20c00f      pinsrb xmm0, eax, 15               00017f80ff800080ff7f3412ffffffef
  660f3a2047010f    pinsrb xmm0, byte [rdi+1], 15      00017f80ff800080ff7f3412ffffffff
  660f3a14c00f      pextrb eax, xmm0, 15               ff00000000000000
  660f3a1447010f    pextrb byte [rdi+1], xmm0, 15      80ff7f0001fe55aa33cc0f81102030400123456789abcdeffedcba9876543210
  660fc4c000        pinsrw xmm0, eax, 0                efcd7f80ff800080ff7f3412ffffffff
  660fc4470100      pinsrw xmm0, word [rdi+1], 0       ff7f7f80ff800080ff7f3412ffffffff
  660fc5c000        pextrw eax, xmm0, 0                0001000000000000
  660f3a15470100    pextrw word [rdi+1], xmm0, 0       8000010001fe55aa33cc0f81102030400123456789abcdeffedcba9876543210
  660fc4c003        pinsrw xmm0, eax, 3                00017f80ff80efcdff7f3412ffffffff
  660fc4470103      pinsrw xmm0, word [rdi+1], 3       00017f80ff80ff7fff7f3412ffffffff
  660fc5c003        pextrw eax, xmm0, 3                0080000000000000
  660f3a15470103    pextrw word [rdi+1], xmm0, 3       8000800001fe55aa33cc0f81102030400123456789abcdeffedcba9876543210
  660fc4c007        pinsrw xmm0, eax, 7                00017f80ff800080ff7f3412ffffefcd
  660fc4470107      pinsrw xmm0, word [rdi+1], 7       00017f80ff800080ff7f3412ffffff7f
  660fc5c007        pextrw eax, xmm0, 7                ffff000000000000
  660f3a15470107    pextrw word [rdi+1], xmm0, 7       80ffff0001fe55aa33cc0f81102030400123456789abcdeffedcba9876543210
  660fc5c002        pextrw rax, xmm0, 2                ff80000000000000
  660fc4c00d        pinsrw xmm0, eax, 13               00017f80ff800080ff7fefcdffffffff
  660fc5c00c        pextrw eax, xmm0, 12               ff7f000000000000
  660f3a22c000      pinsrd xmm0, eax, 0                efcdab89ff800080ff7f3412ffffffff
  660f3a22470100    pinsrd xmm0, dword [rdi+1], 0      ff7f0001ff800080ff7f3412ffffffff
  660f3a16c000      pextrd eax, xmm0, 0                00017f8000000000
  660f3a16470100    pextrd dword [rdi+1], xmm0, 0      8000017f80fe55aa33cc0f81102030400123456789abcdeffedcba9876543210
  660f3a17c000      extractps eax, xmm0, 0             00017f8000000000
  660f3a17470100    extractps dword [rdi+1], xmm0, 0   8000017f80fe55aa33cc0f81102030400123456789abcdeffedcba9876543210
  660f3a22c003      pinsrd xmm0, eax, 3                00017f80ff800080ff7f3412efcdab89
  660f3a22470103    pinsrd xmm0, dword [rdi+1], 3      00017f80ff800080ff7f3412ff7f0001
  660f3a16c003      pextrd eax, xmm0, 3                ffffffff00000000
  660f3a16470103    pextrd dword [rdi+1], xmm0, 3      80fffffffffe55aa33cc0f81102030400123456789abcdeffedcba9876543210
  660f3a17c003      extractps eax, xmm0, 3             ffffffff00000000
  660f3a17470103    extractps dword [rdi+1], xmm0, 3   80fffffffffe55aa33cc0f81102030400123456789abcdeffedcba9876543210
  66480f3a22c000    pinsrq xmm0, rax, 0                efcdab8967452301ff7f3412ffffffff
  66480f3a22470100  pinsrq xmm0, qword [rdi+1], 0      ff7f0001fe55aa33ff7f3412ffffffff
  66480f3a16c000    pextrq rax, xmm0, 0                00017f80ff800080
  66480f3a16470100  pextrq qword [rdi+1], xmm0, 0      8000017f80ff800080cc0f81102030400123456789abcdeffedcba9876543210
  66480f3a22c001    pinsrq xmm0, rax, 1                00017f80ff800080efcdab8967452301
  66480f3a22470101  pinsrq xmm0, qword [rdi+1], 1      00017f80ff800080ff7f0001fe55aa33
  66480f3a16c001    pextrq rax, xmm0, 1                ff7f3412ffffffff
  66480f3a16470101  pextrq qword [rdi+1], xmm0, 1      80ff7f3412ffffffffcc0f81102030400123456789abcdeffedcba9876543210
  660f3a21c100      insertps xmm0, xmm1, 0             ff018001ff800080ff7f3412ffffffff
  660f3a21470100    insertps xmm0, dword [rdi+1], 0    ff7f0001ff800080ff7f3412ffffffff
  660f3a21c110      insertps xmm0, xmm1, 16            00017f80ff018001ff7f3412ffffffff
  660f3a21470110    insertps xmm0, dword [rdi+1], 16   00017f80ff7f0001ff7f3412ffffffff
  660f3a21c1b5      insertps xmm0, xmm1, 181           00000000ff80008000000000ff7f8000
  660f3a214701b5    insertps xmm0, dword [rdi+1], 181  00000000ff80008000000000ff7f0001
  660f3a21c1ff      insertps xmm0, xmm1, 255           00000000000000000000000000000000
  660f3a214701ff    insertps xmm0, dword [rdi+1], 255  00000000000000000000000000000000
  660f3a21c168      insertps xmm0, xmm1, 104           00017f80ff8000807fff008000000000
  660f3a21470168    insertps xmm0, dword [rdi+1], 104  00017f80ff800080ff7f000100000000
`;

interface State {
  readonly xmm: string[];
  rax: string;
  memory: string;
  flags: string;
}

const BASE = 0x10000n;

const toBytes = (hex: string): Uint8Array =>
  Uint8Array.from(hex.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));
const toHex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const toWord = (hex: string, at = 0): bigint => new DataView(toBytes(hex).buffer).getBigInt64(at, true);
const fromWords = (...words: bigint[]): string => toHex(new Uint8Array(BigInt64Array.from(words).buffer));

class Memory implements MemoryPort {
  low = 0n;
  high = 0n;

  constructor(readonly bytes: Uint8Array) {}

  load(address: bigint, bytes: Bytes): boolean {
    const word = new Uint8Array(16);
    word.set(this.bytes.subarray(Number(address - BASE), Number(address - BASE) + bytes));
    [this.low, this.high] = new BigInt64Array(word.buffer);
    return true;
  }

  store(address: bigint, bytes: Bytes, low: bigint, high: bigint): boolean {
    this.bytes.set(toBytes(fromWords(low, high)).subarray(0, bytes), Number(address - BASE));
    return true;
  }

  probe(): boolean {
    return true;
  }
}

const decoder = new InstructionDecoder();

function run(code: string): State {
  const bytes = toBytes(code);
  const instruction = decoder.decode(bytes, 0, bytes.length, 0x1000 as GuestAddress);
  if (isDecodeFailure(instruction)) throw new Error(`${code} is ${instruction.failure}`);
  const steps = liftVector(instruction);
  if (steps === null) throw new Error(`${instruction.text()} is not lifted`);
  const cpu = new CpuState(new ArrayBuffer(0x10000));
  XMM.forEach((value, i) => {
    cpu.setXmm(i, toWord(value), toWord(value, 8));
  });
  cpu.setGeneral(0, toWord(RAX));
  cpu.setGeneral(7, BASE);
  cpu.rflags = BigInt(`0x${FLAGS}`);
  const memory = new Memory(toBytes(MEMORY));
  const outcome = new Evaluator(cpu, memory).evaluate(steps, instruction);
  if (outcome.kind !== "next") throw new Error(outcome.kind);
  return {
    xmm: XMM.map((_, i) => fromWords(cpu.xmmLow(i), cpu.xmmHigh(i))),
    rax: fromWords(cpu.general(0)),
    memory: toHex(memory.bytes),
    flags: (cpu.rflags & BigInt(`0x${FLAGS}`)).toString(16).padStart(3, "0"),
  };
}

function expected(text: string, value: string): State {
  const state: State = { xmm: [...XMM], rax: RAX, memory: MEMORY, flags: FLAGS };
  const [, mnemonic, target] = /^(\w+) ([^,]+)/.exec(text) ?? [];
  if (mnemonic === "ptest") state.flags = value;
  else if (/^[er]ax$/.test(target)) state.rax = value;
  else if (target.startsWith("xmm") && mnemonic !== "maskmovdqu") state.xmm[Number(target.slice(3))] = value;
  else state.memory = value;
  return state;
}

describe("instructions on vectors", () => {
  const lines = MEASURED.trim().split("\n");

  it.each(lines.map((line) => line.trim().split(/ {2,}/)))("%s: %s", (code, text, value) => {
    expect(run(code)).toEqual(expected(text, value));
  });
});
