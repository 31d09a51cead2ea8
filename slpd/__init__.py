"""Slide-level prototypical distillation (SLPD): from whole-slide images to evaluated region representations."""
