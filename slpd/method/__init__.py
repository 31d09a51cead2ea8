"""The method: losses, schedules, views, prototypes, slide graph."""
