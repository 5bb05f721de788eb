"""`sa-engine import --proposals` as a user runs it."""

from pathlib import Path

from sa_engine.pipelines.export import ExportRun, OutFormat, run_export
from tests.cli.conftest import Run
from tests.pipelines.stages.test_corrections import correct_label_studio, write_proposals
from tests.support.drawing import save_picture


def test_corrected_proposals_are_told_by_image(sa_engine: Run, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save_picture(tmp_path / "pictures" / name)
    write_proposals(tmp_path / "proposals", tmp_path / "pictures")
    kind = OutFormat.LABEL_STUDIO
    run_export(ExportRun(dataset=tmp_path / "proposals", out=tmp_path / "export", format=kind))
    correct_label_studio(tmp_path / "export")
    files = ("export/tasks.json", "--images", "export/images", "--out", "corrected")
    done = sa_engine("import", *files, "--proposals", "proposals")

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[2:] == [
        "6 masks kept",
        "beside the masks: 6 items",
        "  6 proposals-answered: people have answered them: the answers are what was read (such as "
        "images/a.png: proposals)",
        "proposals: 6 on 2 images: 4 kept, 1 edited (mean IoU 0.75), 1 deleted; 1 mask added",
        "  precision 0.83 (0.67 as is); 83% of the masks did not have to be drawn",
        "  12.5 s on 1 image, 4.2 s a mask",
        "  a.png: 1 kept, 1 edited (IoU 0.75), 1 deleted, 1 added, 12.5 s",
        "  b.png: 3 kept, 0 edited, 0 deleted, 0 added",
    ]

    done = sa_engine("import", *files, "--proposals", "nowhere")
    assert done.returncode == 2
    assert done.stderr.startswith("Error: nowhere is not a dataset")
