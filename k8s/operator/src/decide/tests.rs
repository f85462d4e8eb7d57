use event_log::position::Position;
use k8s_openapi::jiff::Timestamp;
use views::generation::Retiring;

use super::*;

fn spec(generation: i64, paused: bool) -> ProjectionSpec {
    ProjectionSpec { generation, paused }
}

fn control(active: i64) -> Control {
    Control {
        active,
        requested: None,
        building: None,
        retiring: None,
        paused: false,
    }
}

fn building(generation: i64, phase: generation::Phase) -> Building {
    Building {
        generation,
        phase,
        horizon: Position::ORIGIN,
        scanned: 30,
        total: 120,
        cursor: None,
        started_at: std::time::SystemTime::UNIX_EPOCH.into(),
        owner: "job".to_owned(),
        fence: 1,
        stamp: None,
    }
}

fn seen(control: Control) -> Observed {
    Observed {
        position: Some(Position::from_u64(7 << 32 | 3)),
        catching_up: None,
        lag: (!control.paused).then_some(Duration::from_millis(20)),
        dead_letters: 0,
        outdated: false,
        control: Some(control),
    }
}

fn at(second: i64) -> Time {
    Time(Timestamp::from_second(second).unwrap())
}

fn told<'a>(spec: &'a ProjectionSpec, observed: &'a Observed, job: JobState) -> Told<'a> {
    Told {
        spec,
        generation: Some(5),
        observed: Ok(observed),
        job,
        max_lag: Duration::from_secs(30),
    }
}

fn verdict(status: &ProjectionStatus, kind: &str) -> (String, String) {
    let condition = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == kind)
        .unwrap();
    assert_eq!(condition.observed_generation, Some(5));
    (condition.status.clone(), condition.reason.clone())
}

fn is(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

#[test]
fn what_is_as_wanted_is_left_alone() {
    assert_eq!(steps(&spec(2, false), &seen(control(2)), &JobState::Absent), []);
    // Somebody else has requested a later generation than the desired one, and it exists.
    assert_eq!(steps(&spec(2, false), &seen(control(3)), &JobState::Absent), []);
}

#[test]
fn before_the_first_projector_there_is_nothing_to_do() {
    let nothing = Observed {
        outdated: false,
        control: None,
        position: None,
        catching_up: None,
        lag: None,
        dead_letters: 0,
    };
    assert_eq!(steps(&spec(3, true), &nothing, &JobState::Absent), []);
    let spec = spec(3, false);
    let status = told(&spec, &nothing, JobState::Absent).status(&ProjectionStatus::default(), &at(1));
    assert_eq!(status.phase, Some(Phase::Pending));
    assert_eq!(verdict(&status, condition::READY), is("False", "NoProjector"));
}

#[test]
fn a_raised_generation_gets_one_job() {
    let observed = seen(control(1));
    assert_eq!(steps(&spec(2, false), &observed, &JobState::Absent), [Step::Build(2)]);
    for job in [
        JobState::Running,
        JobState::CannotStart("ImagePullBackOff".to_owned()),
        JobState::Succeeded,
        JobState::Failed,
    ] {
        assert_eq!(steps(&spec(2, false), &observed, &job), []);
    }
}

#[test]
fn what_somebody_else_asked_for_and_what_is_left_over_get_their_job_too() {
    // So are views that an earlier version has written.
    let outdated = Observed {
        outdated: true,
        ..seen(control(3))
    };
    assert_eq!(steps(&spec(1, false), &outdated, &JobState::Absent), [Step::Build(4)]);
    assert_eq!(steps(&spec(1, true), &outdated, &JobState::Absent), [Step::Pause(true)]);
    let mut asked = control(1);
    asked.requested = Some(4);
    assert_eq!(
        steps(&spec(1, false), &seen(asked), &JobState::Absent),
        [Step::Build(4)]
    );
    let mut begun = control(1);
    begun.building = Some(building(2, generation::Phase::Filling));
    assert_eq!(
        steps(&spec(1, false), &seen(begun), &JobState::Absent),
        [Step::Build(2)]
    );
    let mut leaving = control(2);
    leaving.retiring = Some(Retiring {
        generation: 1,
        stopping: true,
    });
    assert_eq!(
        steps(&spec(2, false), &seen(leaving), &JobState::Absent),
        [Step::Build(2)]
    );
}

#[test]
fn a_pause_is_told_first_and_nothing_is_built_meanwhile() {
    assert_eq!(
        steps(&spec(2, true), &seen(control(1)), &JobState::Absent),
        [Step::Pause(true)]
    );
    let mut paused = control(1);
    paused.paused = true;
    assert_eq!(steps(&spec(2, true), &seen(paused.clone()), &JobState::Absent), []);
    assert_eq!(
        steps(&spec(2, false), &seen(paused), &JobState::Absent),
        [Step::Pause(false), Step::Build(2)]
    );
}

/// `helm --wait` of Helm 4, Flux and Argo CD wait for Ready.
#[test]
fn a_pause_that_is_wanted_is_ready_and_a_lower_generation_changes_nothing() {
    let mut paused = control(3);
    paused.paused = true;
    let status = |spec: &ProjectionSpec, control: &Control| {
        told(spec, &seen(control.clone()), JobState::Absent).status(&ProjectionStatus::default(), &at(1))
    };
    let lower = spec(1, true);
    let at_rest = status(&lower, &paused);
    assert_eq!(verdict(&at_rest, condition::READY), is("True", "Paused"));
    assert_eq!(at_rest.phase, Some(Phase::Paused));
    assert_eq!(steps(&lower, &seen(paused.clone()), &JobState::Absent), []);

    // The desired state is not reached yet, in either direction.
    assert_eq!(
        verdict(&status(&lower, &control(3)), condition::READY),
        is("False", "Changing")
    );
    assert_eq!(
        verdict(&status(&spec(1, false), &paused), condition::READY),
        is("False", "Changing")
    );
    assert_eq!(
        verdict(&status(&spec(4, true), &paused), condition::READY),
        is("False", "Rebuilding")
    );
}

#[test]
fn a_rebuild_whose_pod_cannot_start_says_so() {
    let (wanted, observed) = (spec(2, false), seen(control(1)));
    let reason = "ImagePullBackOff: Back-off pulling image".to_owned();
    let status = told(&wanted, &observed, JobState::CannotStart(reason)).status(&ProjectionStatus::default(), &at(1));
    assert_eq!(status.progress.as_deref(), Some("can't start: ImagePullBackOff"));
    assert_eq!(verdict(&status, condition::PROGRESSING), is("False", "CannotStart"));
    assert_eq!(verdict(&status, condition::DEGRADED), is("True", "RebuildCannotStart"));
}

#[test]
fn a_rebuild_is_told_as_it_goes_on() {
    let spec = spec(2, false);
    let mut control = control(1);
    let status = |control: &Control| {
        told(&spec, &seen(control.clone()), JobState::Running).status(&ProjectionStatus::default(), &at(1))
    };
    let asked = status(&control);
    assert_eq!(
        (asked.phase, asked.progress.as_deref()),
        (Some(Phase::Rebuilding), None)
    );
    assert_eq!(verdict(&asked, condition::READY), is("False", "Rebuilding"));
    assert_eq!(verdict(&asked, condition::PROGRESSING), is("True", "Waiting"));

    control.building = Some(building(2, generation::Phase::Scanning));
    let scanning = status(&control);
    assert_eq!(
        (scanning.generation, scanning.progress.as_deref()),
        (Some(1), Some("scanning 25%"))
    );
    assert_eq!(verdict(&scanning, condition::PROGRESSING), is("True", "Building"));

    control.building = Some(building(2, generation::Phase::CatchingUp));
    assert_eq!(status(&control).progress.as_deref(), Some("catching up"));

    control.active = 2;
    control.building = None;
    control.retiring = Some(Retiring {
        generation: 1,
        stopping: false,
    });
    let retiring = status(&control);
    assert_eq!((retiring.phase, retiring.generation), (Some(Phase::Retiring), Some(2)));
    assert_eq!(verdict(&retiring, condition::READY), is("True", "Following"));

    control.retiring = None;
    let done = status(&control);
    assert_eq!(
        (done.phase, done.position.as_deref(), done.lag.as_deref()),
        (Some(Phase::Following), Some("7.3"), Some("0s"))
    );
    assert_eq!(verdict(&done, condition::PROGRESSING), is("False", "Nothing"));
    assert_eq!(verdict(&done, condition::DEGRADED), is("False", "Sound"));
}

#[test]
fn what_needs_a_person_is_told() {
    let (wanted, mut observed) = (spec(2, false), seen(control(1)));
    let status = |observed: &Observed, job| told(&wanted, observed, job).status(&ProjectionStatus::default(), &at(1));
    assert_eq!(
        verdict(&status(&observed, JobState::Failed), condition::DEGRADED),
        is("True", "RebuildFailed")
    );
    observed.dead_letters = 2;
    let letters = status(&observed, JobState::Running);
    assert_eq!(verdict(&letters, condition::DEGRADED), is("True", "DeadLetters"));
    assert_eq!(letters.dead_letters, Some(2));

    let wanted = spec(1, false);
    observed.lag = Some(Duration::from_secs(31));
    let late = told(&wanted, &observed, JobState::Absent).status(&ProjectionStatus::default(), &at(1));
    assert_eq!(verdict(&late, condition::READY), is("False", "Lagging"));
    observed.lag = Some(Duration::from_secs(30));
    let in_time = told(&wanted, &observed, JobState::Absent).status(&ProjectionStatus::default(), &at(1));
    assert_eq!(verdict(&in_time, condition::READY), is("True", "Following"));
}

#[test]
fn a_condition_keeps_the_time_of_its_last_change() {
    let (wanted, observed) = (spec(1, false), seen(control(1)));
    let first = told(&wanted, &observed, JobState::Absent).status(&ProjectionStatus::default(), &at(100));
    let same = told(&wanted, &observed, JobState::Absent).status(&first, &at(200));
    assert_eq!(same, first);

    let unreachable = Told {
        observed: Err("no server answers".to_owned()),
        ..told(&wanted, &observed, JobState::Absent)
    };
    let lost = unreachable.status(&first, &at(300));
    let ready = &lost.conditions[0];
    assert_eq!(
        (ready.status.as_str(), ready.last_transition_time.clone()),
        ("Unknown", at(300))
    );
    assert_eq!(verdict(&lost, condition::DEGRADED), is("True", "DatabaseUnreachable"));
    // The status keeps what was known before.
    assert_eq!((lost.generation, lost.phase), (Some(1), Some(Phase::Following)));
}
