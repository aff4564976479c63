"""Training, evaluation, export and quantisation of the shipped models. torch lives only here."""
