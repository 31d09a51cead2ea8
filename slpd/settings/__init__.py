"""Settings: one typed model per config section, the only home of names, types, ranges and meanings.

`config/config.yaml` is the only home of values: the models have no defaults. Unknown keys are refused.
Importing this package costs neither torch nor pandas: the workflow does it at every start.
"""
