"""Settings: one typed model per config section, the only home of names, types, ranges and meanings.

`config/config.yaml` is the only home of values: the models have no defaults. Unknown keys are refused.
Importing this package loads neither torch nor pandas, because the workflow imports it at every start.
"""
