"""The verbs: one command a file, `stages/NAME.py` holding the function NAME and its configuration.

A stage reads artifacts, calls the layers below, and writes one artifact. Stages never import one another (`demo`
and `study` call the public functions). At the top of a stage stand only the base layer's imports, so that help
answers at once; what it works with is imported where the work starts.
"""
