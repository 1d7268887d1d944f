"""How fast kontrast is, each figure a ratio taken in one run: `make bench`, or `make bench CASE=views`.

    __main__    runs cases, prints a line for each figure, writes benchmarks/results/speed/CASE.json
    measure     contestants in turn, medians of paired ratios, what the machine is
    page        docs/speed.md from those files
    peers/      other libraries, in an environment of their own (`make bench-peers`)
    step, views, prepare, loading, scoring, startup, growth, rivals     the cases

Times are CPU seconds of one thread where the case is about computing, so that other work on the machine weighs little;
the load is written beside them.
"""
