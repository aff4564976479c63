"""The OpenAPI 3.1 document: written by hand where routes bypass the framework, with schemas from ``core.contracts``."""
