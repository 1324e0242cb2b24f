"""Colours and markers, each with one meaning in all figures."""

# Petroff (2021), arXiv:2107.02270: ten colours that can be distinguished with colour-vision deficiencies.
CLUSTERS = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"),
)
MARKERS = "osD^vP"  # another for every ten clusters, which have the same colours again
# EM and the posterior: dark, so that neither is taken for a cluster, and EM is dashed besides.
EM, POSTERIOR = "#222222", "#20507a"
DATA, GREY = "#777777", "#d9d9d9"  # rows, histograms of rows
INK = "#222222"  # text and axes
