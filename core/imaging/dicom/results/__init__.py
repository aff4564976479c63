"""Results as DICOM objects in the patient's own space: segmentation, structured report, pictures.

highdicom, which makes them, takes seconds to import: what imports this is itself imported where it is needed.
"""
