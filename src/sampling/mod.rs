//! Which poses to try: orientation grids, translations, priors.
