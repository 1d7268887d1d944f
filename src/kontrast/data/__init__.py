"""From files and tables to records, labels and parts.

Belongs here: reading images (`decode`), their grey values and size (`intensity`, `resize`), tables and folders of
every known arrangement (`layouts`, `columns`), label policies (`labels`), parts by patient (`splits`), patient keys
(`identity`), what a source holds (`survey`) and generated radiographs (`phantom`).
Does not belong here: tensors, random views, Packs (`artifacts.pack`), and anything that a model needs to know.
"""
