"""Networks of other frameworks to the integer graph, one file a framework.

A frontend carries every convention of a layer or refuses it by name; it trains nothing, runs
nothing on a device and knows no board.
"""
