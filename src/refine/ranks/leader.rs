//! The leader: a thread of rank 0 that answers the other ranks and watches over them, beside rank 0's own work.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use crate::background::Background;
use crate::comm::Tag;
use crate::comm::Team;
use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;

use super::ledger::Ledger;
use super::life::ABSENCE;
use super::life::Life;
use super::message::Beat;
use super::message::Report;
use super::message::Request;
use super::place::Place;
use super::pulse::Pulse;

/// Between two looks for messages. Ranks ask one batch ahead, so that nobody waits for this; MPI's own waiting would
/// keep a core busy.
const PAUSE: Duration = Duration::from_millis(1);
/// Between two looks at the signs of life.
const WATCH: Duration = Duration::from_secs(1);

/// Tells the world why the job ends; does not come back.
pub type Obituary = Box<dyn Fn(Error) + Send>;

/// Starts the leader; dropping it ends it. `pulse` is rank 0's own.
pub fn start(
    team: Team,
    ledger: Arc<Ledger>,
    pulse: Arc<Pulse>,
    places: Vec<Place>,
    obituary: Obituary,
) -> Result<Background> {
    Background::start("leader", move |over| {
        if let Err(error) = lead(&team, &ledger, &pulse, &places, over) {
            obituary(error);
        }
    })
}

fn lead(team: &Team, ledger: &Ledger, pulse: &Pulse, places: &[Place], over: &AtomicBool) -> Result<()> {
    let mut life = Life::new(team.size());
    let mut watched = Instant::now();
    let mut passed = Instant::now();
    while !over.load(SeqCst) {
        if passed.elapsed() > ABSENCE {
            life.begin_anew(Instant::now());
        }
        passed = Instant::now();
        while let Some((from, request)) = team.poll::<Request>(None, Tag::Request)? {
            team.send(from, Tag::Grant, &ledger.answer(&request))?;
        }
        while let Some((from, beat)) = team.poll::<Beat>(None, Tag::Beat)? {
            life.hear(from, beat, Instant::now());
            ledger.tell_particles(from, beat.particles);
            team.send(from, Tag::Alive, &())?;
        }
        while let Some((from, report)) = team.poll::<Report>(None, Tag::Report)? {
            ledger.take(from, report);
        }
        if let Some((rank, code, text)) = ledger.failure() {
            let code = ExitCode::from_code(code).unwrap_or(ExitCode::Internal);
            return Err(Error::new(code, name(rank, places), text, ""));
        }
        if watched.elapsed() >= WATCH {
            watched = Instant::now();
            life.hear(0, pulse.beat(), watched);
            if let Some((rank, problem)) = life.judge(watched) {
                return Err(Error::new(
                    ExitCode::Internal,
                    name(rank, places),
                    problem,
                    "Look at that node (dmesg, its file systems); run the same command again: it goes on from the last \
                     checkpoint.",
                ));
            }
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// `rank 2 on n3`.
fn name(rank: usize, places: &[Place]) -> String {
    match places.get(rank) {
        Some(place) => format!("rank {rank} on {}", place.host),
        None => format!("rank {rank}"),
    }
}
