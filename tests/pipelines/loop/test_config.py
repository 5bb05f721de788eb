"""A loop's config: what it says, and what is wrong with it, told in one line."""

from pathlib import Path

import pytest

from sa_engine.errors import UsageError
from sa_engine.formats.registry import Format
from sa_engine.pipelines.export import OutFormat
from sa_engine.pipelines.loop.config import Kind, LoopConfig, People, Simulated
from sa_engine.pipelines.loop.reading import read_loop

WHOLE = """
name = "whole"
out = "made"

[variables]
data = "data"

[start]
checkpoint = "start.safetensors"

[evaluate]
data = ["{data}/held"]
max_images = 5

[[round]]
name = "one"

[[round.gather]]
name = "people"
kind = "import"
annotations = "{data}/a.json"
images = "{data}/images"
format = "coco"

[round.mix]
manual = 10
people = 2.5

[round.train]
recipe = "scratch"
init = "start"
steps = 7
lr = 1
schedule = "cosine"
min_scale = 0.5

[round.detector]
steps = 3

[[round]]
name = "two"
min_gain = 0.01

[[round.gather]]
name = "proposed"
kind = "semi"
images = "{data}/images"
box_score_thresh = 0.25
existing = "people"

[round.gather.corrected]
by = "masks"
masks = "{data}/held"

[[round.gather]]
name = "asked"
kind = "semi"
images = "{data}/images"

[round.gather.corrected]
by = "people"
tool = "label-studio"
file = "not-there-yet.json"

[[round.gather]]
name = "machine"
kind = "auto"
images = "{data}/images"
model = "one"
points_per_side = 8

[round.train]
data = ["people", "proposed"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with what the config names; nothing is read from it here."""
    (tmp_path / "data" / "images").mkdir(parents=True)
    (tmp_path / "data" / "held").mkdir()
    (tmp_path / "data" / "a.json").touch()
    (tmp_path / "start.safetensors").touch()
    return tmp_path


def read(folder: Path, text: str) -> LoopConfig:
    path = folder / "loop.toml"
    path.write_text(text)
    return read_loop(path)


def test_everything_is_understood(folder: Path) -> None:
    config = read(folder, WHOLE)
    one, two = config.rounds
    (people,) = one.gather

    assert (config.name, config.out) == ("whole", folder / "made")
    assert config.checkpoint == folder / "start.safetensors"
    assert config.held_out.sets[0].data == folder / "data" / "held"
    assert config.held_out.max_images == 5
    assert (people.kind, people.format) == (Kind.IMPORT, Format.COCO)
    assert people.annotations == folder / "data" / "a.json"
    assert one.mix == {"manual": 10.0, "people": 2.5}
    assert one.train is not None
    assert one.train.changes == {
        "train": {"steps": 7},
        "optim": {"lr": 1.0, "schedule": "cosine"},
        "jitter": {"min_scale": 0.5},
    }
    assert one.detector is not None
    assert one.detector.changes == {"train": {"steps": 3}}
    proposed, asked, machine = two.gather
    assert proposed.options == {"box_score_thresh": 0.25}
    assert (proposed.existing, proposed.model) == ("people", "promoted")
    assert proposed.by == Simulated(masks=folder / "data" / "held", accept_iou=0.8)
    assert asked.by == People(tool=OutFormat.LABEL_STUDIO, file=folder / "not-there-yet.json")
    assert (machine.model, machine.options) == ("one", {"points_per_side": 8})
    assert two.train is not None
    assert (two.train.data, two.min_gain) == (("people", "proposed"), 0.01)
    assert two.train.recipe == "finetune"


def test_variables_can_be_given(folder: Path) -> None:
    (folder / "data").rename(folder / "elsewhere")
    path = folder / "loop.toml"
    path.write_text(WHOLE)
    config = read_loop(path, out=folder / "other", variables={"data": "elsewhere"})
    assert config.out == folder / "other"
    assert config.rounds[0].gather[0].annotations == folder / "elsewhere" / "a.json"
    with pytest.raises(UsageError, match=r"no variable 'dta' \(did you mean 'data'\?\)"):
        read_loop(path, variables={"dta": "x"})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("steps = 7", "stpes = 7", r"\[\[round\]\] 1 \('one'\), train has an unknown key 'stpes' "
         r"\(did you mean 'steps'\?\)"),
        ("min_gain = 0.01", "gain = 0.01", r"2 \('two'\) has an unknown key 'gain'"),
        ('name = "whole"', 'nmae = "whole"', r"loop.toml has an unknown key 'nmae' \(did you mean "
         r"'name'\?\)"),
        ("steps = 7", 'steps = "7"', "steps is '7', it must be int"),
        ("steps = 7", "steps = 0", "steps is 0; give at least 1"),
        ("lr = 1", "lr = true", "lr is True, it must be float"),
        ('schedule = "cosine"', 'schedule = "cosin"', "there are step, cosine, constant"),
        ('kind = "auto"', 'kind = "atuo"', r"kind is 'atuo' \(did you mean 'auto'\?\)"),
        ("points_per_side = 8", "points_per_side = 0", "points_per_side is 0; it must be 1"),
        ("box_score_thresh = 0.25", "box_score_thresh = 2", "box_score_thresh is 2"),
        ('"{data}/a.json"', '"{data}/b.json"', r"there is no .*b\.json \(key 'annotations'\)"),
        ('"{data}/a.json"', '"{dat}/a.json"', r"the variable \{dat\}, which is not declared \(did "
         r"you mean 'data'\?\)"),
        ('annotations = "{data}/a.json"', "", "needs 'annotations'"),
        ("start.safetensors", "end.safetensors", "there is no .*end.safetensors"),
        ('[evaluate]\ndata = ["{data}/held"]\nmax_images = 5', "", r"has no \[evaluate\]"),
        ('out = "made"', "", "names no folder"),
        ('name = "two"', 'name = "one"', "two rounds have the name 'one'"),
        ('name = "asked"', 'name = "proposed"', "two sets have the name 'proposed'"),
        ('name = "asked"', 'name = "manual"', "a set cannot be named 'manual'"),
        ('name = "asked"', 'name = "a/b"', "set name 'a/b' cannot be used"),
        ("people = 2.5", "poeple = 2.5", r"mix names 'poeple' \(did you mean 'people'\?\)"),
        ("manual = 10", "manual = -1", "manual is -1, it must be at least 0"),
        ('existing = "people"', 'existing = "nobody"', "existing is 'nobody'"),
        ('model = "one"', 'model = "three"', "model is 'three'"),
        ('["people", "proposed"]', '["peoples"]', r"'peoples' \(did you mean 'people'\?\)"),
        ('init = "start"', 'init = "one"', "wait for each other: one -> one"),
        ('init = "start"', 'init = "two"', "wait for each other: one -> two -> one"),
        ("[round.detector]\nsteps = 3", "", "no round before it trains a detector"),
        ("[[round]]", "[round]", "not TOML"),
        ('tool = "label-studio"', 'tool = "yolo-seg"', "there are coco, cvat, label-studio"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(folder: Path, old: str, new: str, message: str) -> None:
    assert old in WHOLE
    with pytest.raises(UsageError, match=message) as caught:
        read(folder, WHOLE.replace(old, new))
    assert "\n" not in str(caught.value)
    assert list(folder.glob("made")) == []


def test_random_weights_have_nothing_to_finetune(folder: Path) -> None:
    random = WHOLE.replace('init = "start"', 'init = "random"')
    usual = read(folder, random.replace('recipe = "scratch"\n', "")).rounds[0].train
    assert usual is not None
    assert usual.recipe == "scratch"
    with pytest.raises(UsageError, match="recipe is 'finetune'; there are paper, scratch"):
        read(folder, random.replace('recipe = "scratch"', 'recipe = "finetune"'))


def test_a_round_cannot_use_what_comes_later(folder: Path) -> None:
    text = WHOLE.replace('model = "one"', "").replace('existing = "people"', "")
    text = text.replace('data = ["people", "proposed"]', 'data = ["proposed"]')
    later = text.replace("[round.detector]", 'data = ["machine"]\n\n[round.detector]', 1)
    with pytest.raises(UsageError, match="round 'one' trains on the set 'machine', but round 'two"):
        read(folder, later)


def test_a_file_that_is_no_toml(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"loop.toml is not TOML: .* \(at line 1"):
        read(folder, "out = ]")
    with pytest.raises(UsageError, match="cannot read"):
        read_loop(folder / "none.toml")


def test_the_example_is_a_loop_of_three_stages(tmp_path: Path) -> None:
    for name in ("stage1", "stage2", "unlabelled", "heldout"):
        (tmp_path / name).mkdir()
    (tmp_path / "stage1" / "instances.json").touch()
    example = Path(__file__).resolve().parents[3] / "examples" / "loop" / "loop.toml"
    config = read_loop(example, variables={"data": str(tmp_path)})
    kinds = [each.gather[0].kind for each in config.rounds]
    assert kinds == [Kind.IMPORT, Kind.SEMI, Kind.AUTO]
    assert all(each.train is not None for each in config.rounds)
    assert config.rounds[2].mix == {"manual": 10.0, "semi-automatic": 10.0}
