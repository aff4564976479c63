"""The networks: plain torch modules with no knowledge of data or loops."""
