"""Out-of-fold evidence: groups that no fold cuts, a data folder for each fold, and what is answered in them."""
