"""Other libraries, driven in an environment of their own (`make bench-peers` makes it) by requests on standard input.

requirements.txt    what is installed there, without the builds of torch that they would bring
worker              runs there; kontrast is not installed there, and nothing here is imported by the package
client              runs here: a worker as contestants for `measure.alternate`
"""
