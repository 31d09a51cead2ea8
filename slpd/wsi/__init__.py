"""Whole-slide images: the only package that opens them.

A slide is opened in a process of its own (`worker`, forked by `nursery`), because the C libraries that decode slides
can crash; the process that uses it holds a `Slide`. OpenSlide decides what a slide is: its levels, its resolution, and
whether a tile can be decoded. cuCIM, several times faster, reads the regions of those slides whose pixels it is found
to read alike.

On a machine with a GPU, nvJPEG decodes regions in the process that encodes them (`nvjpeg_reader`), from compressed JPEG
tiles, or cuCIM does so in the reading process (`cucim_gpu_reader`), where their pixels are near OpenSlide's
(`tolerance`). Neither complains of damage. So a tile is first looked at: it must lie in the file, state the right size
and have its end; for nvJPEG its coded data must also hold no marker that cannot be there and no long run of zeros
(`jpeg_tiles`). A region with a tile that fails, or with which the GPU fails, is read as without a GPU. What is left is
bits that flipped within a tile: where they make impossible codes, OpenSlide refuses, and a GPU decodes something.

**What happens to damaged tiles.** OpenSlide refuses a tile that is no JPEG or JPEG 2000 image, has another size, ends
too early, lies outside the file, or whose coded data break off or hold impossible codes: the region becomes
an `UnreadableRegion`. For such a tile cuCIM would return grey, stale or uninitialised pixels, or end the process. It
gets to see only JPEG tiles that lie inside the file and state the right size in their header, and a region in which
its decoder complained about any tile is read again by OpenSlide. What OpenSlide refuses is refused with either reader.

Decoders may fill what was lost of a tile with a flat colour. In plain TIFF pyramids (`generic-tiff`, `aperio`) of which
most tiles have their end marker, a JPEG or JPEG 2000 tile without it is therefore refused with either reader: its last
bytes were cut off or zeroed, as by an interrupted copy. With cuCIM, data that run over a tile's end are refused too.

A thumbnail is white where its level cannot be decoded; `Slide.n_unreadable` says in how many squares.

A tile that a plain TIFF pyramid does not have at one level is read from the next finer level that has it. One that only
coarser levels show is refused as damaged. What no level has was left out by the scanner, and is white; so are holes in
files of other kinds (`slpd.wsi.holes`).

Levels in SubIFDs, which OpenSlide does not see, and overviews of one huge level are decoded tile by tile
(`slpd.wsi.tile_reader`), if the tiles of level 0 equal OpenSlide's: there, broken codes within a JPEG tile go unseen.

No reader can know of damage that leaves a valid image: bytes that decode to other pixels (JPEG has no checksum, and
JPEG 2000 absorbs most flipped or zeroed bytes), changed bytes of uncompressed tiles, or an offset that leads to another
tile.
"""

from slpd.wsi.messages import Reader, UnreadableRegion
from slpd.wsi.slide import READ_AHEAD, CrashedReaderError, Slide

__all__ = ["READ_AHEAD", "CrashedReaderError", "Reader", "Slide", "UnreadableRegion"]
