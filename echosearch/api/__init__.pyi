from .index import Index as Index, open_index as open_index
