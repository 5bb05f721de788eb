"""README.md of a dataset: what lies in the folder, for people and for Hugging Face `datasets`.

The lines between the dashes are that library's: they say which files hold the rows, so that
`datasets.load_dataset(folder)` works on a dataset as it lies.
"""

CARD_NAME = "README.md"

CARD = """\
---
configs:
- config_name: default
  data_files: "sa_*.parquet"
---

# Segmentation dataset

Images with masks in the layout of SA-1B, written by sa-engine.

* `sa_<shard>.tar`: the images and, for each, its masks as JSON (COCO's compressed RLE)
* `sa_<shard>.parquet`: the same as rows, failed images included
* `sa_<shard>_stats.json`: counts, and the SHA-256 of the other two
* `manifest.json`: the options and the model that made it; `inputs.parquet`: its images

```python
import datasets
rows = datasets.load_dataset("path/to/this/folder")["train"]
```

```python
from sa_engine import Dataset, plot
dataset = Dataset("path/to/this/folder")
plot(dataset.read_rgb(dataset[0]), dataset[0].annotations)
```

`sa-engine verify` checks every byte of it; this file may be changed freely.
"""
