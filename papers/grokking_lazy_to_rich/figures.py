def draw(record):
    return {}
