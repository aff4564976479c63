"""Which series of a study is which sequence, from everything that their headers say.

acquisition  what a header says of how its images were taken
words        the words in a description, in the languages of the sites
table        ``series_table.toml``: what counts as evidence, for what and how strongly
evidence     the entries of the table that hold for an acquisition, and what they come to
quality      how much of the head a volume shows, and how finely
choice       of all series the one for each sequence, with reasons and what else there was
"""
