"""A loop of all three stages on synthetic scenes, with a model of random weights."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sa_engine.dataset.folder.sealed import unseal
from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import Stage
from sa_engine.dataset.verify import verify
from sa_engine.errors import DamagedError, UsageError
from sa_engine.model.checkpoint import read_card
from sa_engine.pipelines.loop.bench import Watcher
from sa_engine.pipelines.loop.config import LoopConfig
from sa_engine.pipelines.loop.reading import read_loop
from sa_engine.pipelines.loop.registry import read_registry
from sa_engine.pipelines.loop.rounds import look_at_loop, run_loop
from sa_engine.pipelines.loop.state import LoopProgress, LoopState
from sa_engine.pipelines.loop.steps import Step, file_digest
from tests.support.loop_sets import CONFIG, write_inputs
from tests.support.scene_datasets import write_scenes


class Seen(Watcher):
    """Remembers which steps were made and which were there."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.found: list[str] = []

    def done(self, label: str, step: Step, *, made: bool) -> None:
        (self.made if made else self.found).append(label)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LoopState, list[str]]:
    """A finished loop: its config, its state, and the steps that were made."""
    config = write_inputs(tmp_path_factory.mktemp("loop"))
    seen = Seen()
    return config, run_loop(read_loop(config), watcher=seen), seen.made


@pytest.fixture
def config_of(
    done: tuple[Path, LoopState, list[str]], tmp_path: Path
) -> Callable[[str], LoopConfig]:
    """A function that gives a config of another text, in a copy of the finished loop's folder."""
    path = done[0]
    shutil.copytree(path.parent / "out", tmp_path / "out", symlinks=True)

    def read(text: str) -> LoopConfig:
        # The copy has the name of the first: it stands in the names of models.
        folder = tmp_path / "configs"
        folder.mkdir(exist_ok=True)
        changed = folder / "loop.toml"
        changed.write_text(text)
        for name in ("coco", "more", "held", "human", "start.safetensors"):
            if not (folder / name).exists():
                (folder / name).symlink_to(path.parent / name)
        return read_loop(changed, out=tmp_path / "out")

    return read


def go_on(config: LoopConfig) -> tuple[LoopState, Seen]:
    seen = Seen()
    return run_loop(config, watcher=seen), seen


def test_three_stages_and_their_retrainings(done: tuple[Path, LoopState, list[str]]) -> None:
    path, state, made = done
    stage1, stage2, stage3 = state.rounds

    assert made == [
        "start: measure",
        "stage1: gather drawn",
        "stage1: train",
        "stage1: measure",
        "stage1: train the detector",
        "stage1: measure the detector",
        "stage2: gather proposed",
        "stage2: gather proposed, corrected",
        "stage2: train",
        "stage2: measure",
        "stage3: gather found",
        "stage3: train",
        "stage3: measure",
    ]
    assert [each.progress for each in state.rounds] == [LoopProgress.DONE] * 3
    # By their min_gain: the second cannot be good enough, the others cannot fail.
    assert [each.promoted for each in state.rounds] == [True, False, True]
    assert stage2.model is not None
    assert stage2.model.path.is_file()
    assert state.model == stage3.model
    assert stage3.trained_on == ("drawn", "proposed", "found")
    assert stage3.before == (stage1.measured and stage1.measured.own)
    for each in state.rounds:
        for gathered in each.sets:
            assert verify(gathered.path) == []
    proposed = Dataset(stage2.sets[0].path)
    assert {mask.stage for _, _, mask in proposed.iter_masks()} == {Stage.SEMI_AUTOMATIC}
    # The simulated annotator leaves no object undrawn.
    truth = Dataset(path.parent / "more")
    assert [len(r.annotations) for r in proposed] == [len(r.annotations) for r in truth]
    said = stage2.sets[0].proposals
    assert said is not None
    assert said["kept"] + said["added"] == sum(len(r.annotations) for r in truth)
    assert said["shown"] == said["kept"] + said["deleted"]
    assert stage2.model.sha256 == file_digest(stage2.model.path)
    card = read_card(stage2.model.path)
    assert (card.name, card.pred_iou_thresh) == ("loop-stage2", 0.0)


def test_the_registry_tells_where_all_comes_from(
    done: tuple[Path, LoopState, list[str]],
) -> None:
    path, state, _ = done
    stage1, stage2, stage3 = state.rounds
    assert stage1.model and stage2.model and stage3.model and stage1.detector
    registry = read_registry(path.parent / "out")
    drawn, proposed, found = (each.sets[0].digest for each in state.rounds)

    assert set(registry.masks_of(stage1.model.sha256)) == {proposed, found}
    assert registry.masks_of(stage1.detector.sha256) == [proposed]
    # The second round's model was not promoted: it made nothing.
    assert registry.masks_of(stage2.model.sha256) == []
    trained = [stage1.model.sha256, stage1.detector.sha256, stage2.model.sha256]
    assert set(registry.trained_by(drawn)) == {*trained, stage3.model.sha256}
    assert registry.trained_by(found) == [stage3.model.sha256]
    assert registry.promoted == {
        "model": stage3.model.sha256,
        "detector": stage1.detector.sha256,
    }
    assert [each["promoted"] for each in registry.rounds] == [True, False, True]


def test_each_round_leaves_a_folder(done: tuple[Path, LoopState, list[str]]) -> None:
    path, state, _ = done
    out = path.parent / "out"
    folder = out / "rounds" / "02-stage2"
    content = unseal((folder / "round.json").read_bytes(), name="round")
    assert content["sets"]["proposed"]["masks"] == dict(state.rounds[1].sets[0].masks)
    assert content["config"]["train"]["changes"]["train"]["steps"] == 2
    assert content["held_out"].keys() == {"held"}
    assert content["seconds"] > 0
    assert file_digest(folder / "model.safetensors") == content["model"]
    assert (folder / "proposed" / "manifest.json").is_file()
    assert state.model.sha256 == file_digest(out / "model.safetensors")
    page = (out / "index.html").read_text()
    assert "3 of 3 rounds are done." in page
    # Everything holds when the folder is moved: links and paths lead inside.
    assert not (out / "model.safetensors").readlink().is_absolute()
    registry = read_registry(out)
    assert state.rounds[1].model is not None
    kept = registry.models[state.rounds[1].model.sha256]["path"]
    assert kept.startswith("steps/train-")
    assert registry.sets[state.rounds[1].sets[0].digest]["path"].startswith("steps/correct-")


def test_the_same_loop_again_makes_nothing(
    done: tuple[Path, LoopState, list[str]], config_of: Callable[[str], LoopConfig]
) -> None:
    state, seen = go_on(config_of(CONFIG))
    assert (seen.made, seen.found) == ([], done[2])
    assert state.model.sha256 == done[1].model.sha256
    looked = look_at_loop(state.config)
    assert looked.is_done
    assert [each.steps for each in looked.rounds] == [each.steps for each in state.rounds]


def test_a_change_makes_anew_what_depends_on_it(config_of: Callable[[str], LoopConfig]) -> None:
    _, seen = go_on(config_of(CONFIG.replace("manual = 10", "manual = 3")))
    assert seen.made == ["stage3: train", "stage3: measure"]
    # Back again: it is all there still.
    _, seen = go_on(config_of(CONFIG))
    assert seen.made == []
    # What is promoted decides what comes after, and no more than that.
    looked = look_at_loop(config_of(CONFIG.replace("min_gain = 1\n", "min_gain = -1\n")))
    progress = [each.progress for each in looked.rounds]
    assert progress == [LoopProgress.DONE, LoopProgress.DONE, LoopProgress.PENDING]
    assert looked.doing == "stage3: gather found"
    assert looked.rounds[1].promoted is True


def test_people_are_waited_for(config_of: Callable[[str], LoopConfig], tmp_path: Path) -> None:
    by_masks = 'by = "masks"\nmasks = "more"\naccept_iou = 0.01'
    by_people = 'by = "people"\ntool = "coco"\nfile = "corrected.json"'
    config = config_of(CONFIG.replace(by_masks, by_people))
    state, seen = go_on(config)

    assert seen.made == ["stage2: gather proposed, for coco"]
    progress = [each.progress for each in state.rounds]
    assert progress == [LoopProgress.DONE, LoopProgress.WAITING, LoopProgress.PENDING]
    corrected = tmp_path / "configs" / "corrected.json"
    assert state.waiting is not None
    assert f"put what comes out at {corrected} and run the same command again" in state.waiting
    assert "put what comes out at" in (config.out / "index.html").read_text()
    assert look_at_loop(config).waiting == state.waiting

    (export,) = (config.out / "steps").glob("export-*")
    content = json.loads((export / "coco" / "instances.json").read_bytes())
    content["annotations"].pop()
    corrected.write_text(json.dumps(content))
    state, seen = go_on(config)
    assert seen.made[:2] == ["stage2: gather proposed, corrected", "stage2: train"]
    said = state.rounds[1].sets[0].proposals
    assert said is not None
    assert (said["deleted"], said["added"]) == (1, 0)
    assert state.is_done


def test_damage_is_found(config_of: Callable[[str], LoopConfig]) -> None:
    config = config_of(CONFIG)
    state = look_at_loop(config)
    assert state.rounds[0].model is not None
    path = state.rounds[0].model.path
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedError, match="is not what it was when it was made: delete"):
        go_on(config)


def test_what_is_held_out_is_not_trained_on(
    done: tuple[Path, LoopState, list[str]], tmp_path: Path
) -> None:
    folder = done[0].parent
    write_scenes(tmp_path / "leak", range(101, 103))
    text = CONFIG[: CONFIG.index("[round.detector]")]
    text = text.replace('kind = "import"', 'kind = "dataset"')
    text = text.replace('annotations = "coco/instances.json"', f'data = "{tmp_path / "leak"}"')
    path = folder / "leak.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match="1 images of the set 'drawn' are held out, too, in 'hel"):
        run_loop(read_loop(path, out=tmp_path / "out"))


def test_two_loops_do_not_share_a_folder(done: tuple[Path, LoopState, list[str]]) -> None:
    config = read_loop(done[0])

    class Second(Watcher):
        def begin(self, label: str) -> None:
            with pytest.raises(UsageError, match="another process is running the loop in"):
                run_loop(config)
            self.tried = True

    second = Second()
    run_loop(config, watcher=second)
    assert second.tried


def test_a_folder_of_other_things_is_left_alone(
    config_of: Callable[[str], LoopConfig], tmp_path: Path
) -> None:
    config = replace(config_of(CONFIG), out=tmp_path / "site")
    config.out.mkdir(parents=True)
    (config.out / "index.html").write_text("mine")
    with pytest.raises(UsageError, match=r"not a loop's folder \(it holds 'index.html'\)"):
        run_loop(config)
    assert (config.out / "index.html").read_text() == "mine"


def test_a_bundled_start_that_is_gone_is_named(
    config_of: Callable[[str], LoopConfig], done: tuple[Path, LoopState, list[str]], tmp_path: Path
) -> None:
    config = replace(config_of(done[0].read_text()), checkpoint=None)
    registry = read_registry(tmp_path / "out")
    (digest,) = [each for each, entry in registry.models.items() if entry["round"] == "start"]
    registry.models[digest]["path"] = "/gone/weights/vit_t.safetensors"
    registry.save(tmp_path / "out")
    with pytest.raises(UsageError, match=r"began with the bundled model vit_t \(sha256 .* give"):
        run_loop(config)
