"""Jobs: submit, watch, cancel and run them. The only part of Falx that imports the queue library and redis."""

from core.jobs.plain import install

install()
