"""What a run has said of its steps, read back."""

from pathlib import Path

from sa_engine.training.metrics import MetricsLog, last_reports
from sa_engine.training.sam.report import StepReport


def report(step: int, loss: float) -> StepReport:
    return StepReport(
        step=step,
        loss=loss,
        first_best_iou=0.5,
        first_own_iou=0.4,
        last_iou=0.6,
        iou_error=0.1,
        lr=1e-3,
        grad_norm=1.0,
        images_per_s=2.0,
    )


def test_the_later_report_of_a_step_counts_and_cut_lines_do_not(tmp_path: Path) -> None:
    assert last_reports(tmp_path, StepReport) == []
    log = MetricsLog(tmp_path)
    for step, loss in ((10, 3.0), (20, 2.0), (10, 2.5), (20, 1.5), (30, 1.0)):
        log.write(report(step, loss))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 40, "lo')
    found = last_reports(tmp_path, StepReport)
    assert [(each.step, each.loss) for each in found] == [(10, 2.5), (20, 1.5), (30, 1.0)]
    assert last_reports(tmp_path, StepReport, count=1) == [report(30, 1.0)]
