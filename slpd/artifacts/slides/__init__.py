"""Files of slides: the sheet, status records, masks, region tables, the manifest."""
