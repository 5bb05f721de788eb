"""The engine in a notebook: masks of one photograph, one mask by a click, and a dataset.

Each `# %%` is a cell, for editors that know them (VS Code, PyCharm, Spyder) and for Jupyter with
jupytext; a cell that ends with a picture shows it. From a shell: python examples/notebook.py
"""

# %% What to look at
from pathlib import Path

from sa_engine import Dataset, MaskGenerator, Predictor, load_model, plot

here = Path("examples") if Path("examples").is_dir() else Path()  # or beside this file
photo = here / "images" / "cat.jpg"
folder = Path("out/first")  # a dataset, as README's first steps make it
points_per_side = 32
out = Path("out/notebook")
out.mkdir(parents=True, exist_ok=True)

# %% All masks of an image
model = load_model()
masks = MaskGenerator(model, points_per_side=points_per_side).generate(photo)
print(f"{len(masks)} masks; the largest has {max((m.area for m in masks), default=0)} pixels")
picture = plot(photo, masks)
picture.save(out / "masks.jpg")
picture

# %% What is under one point: three answers, the best one first
predictor = Predictor(model)
predictor.set_image(photo)
height, width = predictor.size_hw
answer = predictor.predict(points_xy=[[width / 2, height / 2]])
best = answer.masks[answer.iou.argmax()]
print(f"one click: {best.sum()} pixels, predicted IoU {answer.iou.max():.2f}")
picture = plot(photo, [best])
picture.save(out / "click.jpg")
picture

# %% A dataset: records, pixels, tensors
if folder.is_dir():
    dataset = Dataset(folder)
    record = dataset[0]
    print(f"{len(dataset)} images; {record.source} has {len(record.annotations)} masks")
    print(f"{len(dataset.to_coco()['annotations'])} COCO annotations")
    image, target = dataset.to_torch()[0]
    print(f"tensors: image {tuple(image.shape)}, masks {tuple(target['masks'].shape)}")
    picture = plot(dataset.read_rgb(record), record.annotations)
    picture.save(out / "dataset.jpg")
picture
