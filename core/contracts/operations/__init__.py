"""What each operation of the API takes and answers, described once: services and gateway render it, each for itself.

One module a group. ``operation`` has the words that descriptions are written in, ``bodies`` what requests carry.
"""
