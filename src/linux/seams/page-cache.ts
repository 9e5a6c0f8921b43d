import { type Seam, seam } from "../seam.js";
import type { SeamFile } from "../services.js";

const NOTHING = (): undefined => undefined;

/** Around the page cache: what counts pages and picks those to reclaim. Nothing is ever reclaimed here. */
export const pageCacheSeams: SeamFile = (): readonly Seam[] => [
  seam("void (struct pglist_data *, enum node_stat_item, long)", "__mod_node_page_state mod_node_page_state", NOTHING),
  seam("void (struct zone *, enum zone_stat_item, long)", "__mod_zone_page_state mod_zone_page_state", NOTHING),
  seam(
    "void (struct page *, enum node_stat_item)",
    "__inc_node_page_state inc_node_page_state __dec_node_page_state dec_node_page_state",
    NOTHING,
  ),
  seam(
    "void (struct page *, enum zone_stat_item)",
    "__inc_zone_page_state inc_zone_page_state __dec_zone_page_state dec_zone_page_state",
    NOTHING,
  ),
  seam("void (struct pglist_data *, enum node_stat_item)", "__inc_node_state inc_node_state", NOTHING),
  seam("void (struct lruvec *, enum node_stat_item, int)", "__mod_lruvec_state", NOTHING),
  seam("void (struct page *, enum node_stat_item, int)", "__mod_lruvec_page_state", NOTHING),
  seam("void (struct folio *, enum node_stat_item, int)", "__lruvec_stat_mod_folio lruvec_stat_mod_folio", NOTHING),
  seam("void (struct folio *)", "folio_add_lru folio_mark_accessed", NOTHING),
  seam("void (void)", "lru_add_drain lru_add_drain_all", NOTHING),
  // Groups of processes have no accounts of memory.
  seam("int (struct cgroup_subsys_state *)", "mem_cgroup_css_online", () => 0),
];
