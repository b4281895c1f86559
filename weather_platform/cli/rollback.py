"""`weather rollback`: the job `rollback` on the instance of the home, so that its run stands in the UI like others."""

from dagster._core.utils import make_new_run_id

from weather_platform.automation.rollback import ROLLBACK_JOB, ROLLBACK_OP
from weather_platform.build import build_definitions
from weather_platform.cli.home import open_instance, run_in_progress
from weather_platform.cli.runs import QUIET, require_success, tags_of_command
from weather_platform.settings import Settings


def run_rollback(settings: Settings, target: str, to_version: int | None, reason: str, *, nowhere: bool = False) -> str:
    """Run the job; gives the line to print. WeatherError, one line, when it is refused or fails."""
    asked = {"target": target, "reason": reason, "nowhere": nowhere}
    if to_version:
        asked["to_version"] = to_version
    run_id = make_new_run_id()
    with open_instance(settings) as instance, run_in_progress(instance, run_id):
        result = (
            build_definitions(settings)
            .resolve_job_def(ROLLBACK_JOB)
            .execute_in_process(
                instance=instance,
                run_config=QUIET | {"ops": {ROLLBACK_OP: {"config": asked}}},
                tags=tags_of_command(),
                run_id=run_id,
                raise_on_error=False,
            )
        )
    require_success(result, result.run_id)
    if nowhere:
        [seen] = result.get_asset_observation_events()
        left = seen.asset_observation_data.asset_observation.metadata["left"].value
        return f"{target}: nothing serves now (was version {left}; run {result.run_id})"
    [event] = [event for event in result.all_events if event.is_step_materialization]
    told = {name: value.value for name, value in event.step_materialization_data.materialization.metadata.items()}
    came_from = f"was {told['from_version'] or 'nowhere'}" if told["moved"] else "the interrupted move is recorded now"
    return f"{target}: Production is version {told['version']} ({came_from}; run {result.run_id})"
