use super::*;

fn building(phase: Phase) -> Building {
    Building {
        generation: 3,
        phase,
        horizon: Position::ORIGIN,
        scanned: 0,
        total: 0,
        cursor: None,
        started_at: DateTime::UNIX_EPOCH,
        owner: "one".to_owned(),
        fence: 1,
        stamp: None,
    }
}

#[test]
fn only_what_has_a_subscription_is_followed() {
    let mut control = Control {
        active: 2,
        requested: Some(4),
        building: None,
        retiring: None,
        paused: false,
    };
    assert_eq!(control.followed(), [2]);
    control.building = Some(building(Phase::Filling));
    assert_eq!(control.followed(), [2]);
    control.building = Some(building(Phase::CatchingUp));
    control.retiring = Some(Retiring {
        generation: 1,
        stopping: false,
    });
    assert_eq!(control.followed(), [2, 3, 1]);
    control.retiring = Some(Retiring {
        generation: 1,
        stopping: true,
    });
    assert_eq!(control.followed(), [2, 3]);
    control.paused = true;
    assert_eq!(control.followed(), Vec::<i64>::new());
    assert_eq!((control.lowest_needed(), control.highest_known()), (1, 4));
}

#[test]
fn a_collection_tells_its_generation() {
    assert_eq!(generation_of("home_timelines_g12"), Some(12));
    for other in [
        "control",
        "dead_letters",
        "posts_g",
        "posts_gx",
        "posts_g-1",
        "posts_g+1",
    ] {
        assert_eq!(generation_of(other), None, "{other}");
    }
}

#[test]
fn the_control_document_survives_the_way_through_the_database() {
    let control = Control {
        active: 2,
        requested: None,
        building: Some(building(Phase::Scanning)),
        retiring: None,
        paused: false,
    };
    let document = bson::serialize_to_document(&control).unwrap();
    let phase = document.get_document("building").unwrap().get_str("phase").unwrap();
    assert_eq!(phase, Phase::Scanning.as_str());
    assert_eq!(bson::deserialize_from_document::<Control>(document).unwrap(), control);
}
