"""The engine in a notebook: masks of one photograph, one mask by a click, and a dataset.

    python examples/notebook.py [--image photo.jpg] [--out out/notebook]

Each `# %%` is a cell for editors that know them; a cell that ends with a picture shows it.
"""

# %%
import argparse
from pathlib import Path

from sa_engine import Dataset, MaskGenerator, Predictor, load_model, plot

HERE = Path(__file__).parent
options = argparse.ArgumentParser(description=__doc__)
options.add_argument("--image", type=Path, default=HERE / "images" / "cat.jpg")
options.add_argument("--points-per-side", type=int, default=32)
options.add_argument("--dataset", type=Path, help="a dataset that `sa-engine auto` made")
options.add_argument("--out", type=Path, default=Path("out/notebook"))
given = options.parse_args()
given.out.mkdir(parents=True, exist_ok=True)

# %% All masks of an image
model = load_model()
masks = MaskGenerator(model, points_per_side=given.points_per_side).generate(given.image)
picture = plot(given.image, masks)
picture.save(given.out / "masks.jpg")
print(f"{len(masks)} masks; the largest has {max((m.area for m in masks), default=0)} pixels")

# %% What is under one point: three answers, the best one first
predictor = Predictor(model)
predictor.set_image(given.image)
height, width = predictor.size_hw
answer = predictor.predict(points_xy=[[width / 2, height / 2]])
best = answer.masks[answer.iou.argmax()]
plot(given.image, [best]).save(given.out / "click.jpg")
print(f"one click: {best.sum()} pixels, predicted IoU {answer.iou.max():.2f}")

# %% A dataset: records, pixels, tensors
if given.dataset is not None:
    dataset = Dataset(given.dataset)
    record = dataset[0]
    print(f"{len(dataset)} images; {record.source} has {len(record.annotations)} masks")
    plot(dataset.read_rgb(record), record.annotations).save(given.out / "dataset.jpg")
    print(f"{len(dataset.to_coco()['annotations'])} COCO annotations")
    image, target = dataset.to_torch()[0]
    print(f"tensors: image {tuple(image.shape)}, masks {tuple(target['masks'].shape)}")
