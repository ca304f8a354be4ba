//! The wire: MPI. Messages are cut at a constant, because MPI counts in 32 bits.
//!
//! One thread at a time is inside the library, and never for long: everything is begun, and then asked for until it is
//! over. Blocking calls of several threads at once (MPI_THREAD_MULTIPLE) lost messages in OpenMPI 4.1.4.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use mpi::Threading;
use mpi::collective::Root;
use mpi::datatype::Equivalence;
use mpi::environment::Universe;
use mpi::point_to_point::Destination;
use mpi::point_to_point::Source;
use mpi::request::Request;
use mpi::request::Scope;
use mpi::request::scope;
use mpi::topology::Communicator;
use mpi::topology::SimpleCommunicator;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;

/// Bytes of one message, and numbers that are added at a time (twice 2 MB lie beside the arena for it).
const MESSAGE: usize = 1 << 28;
const PIECE: usize = 1 << 18;
/// Of messages with numbers to be added; no [`super::Tag`].
const SUM: i32 = 100;
/// Somebody who works on the same transfer answers at once: so long this thread only yields. Then it sleeps.
const EAGER: Duration = Duration::from_millis(20);
const PAUSE: Duration = Duration::from_micros(200);
/// The launcher of the ranks takes so long at most to pass on their last words.
const FORWARDING: Duration = Duration::from_millis(500);

/// Held by the thread that is inside the library.
static LIBRARY: Mutex<()> = Mutex::new(());

/// One call of the library.
fn call<R>(inside: impl FnOnce(&SimpleCommunicator) -> R) -> R {
    let _alone = LIBRARY.lock().unwrap_or_else(PoisonError::into_inner);
    inside(&SimpleCommunicator::world())
}

/// Asks until something that was begun is over.
fn finish<'a, D: ?Sized, S: Scope<'a>>(request: Request<'a, D, S>) {
    let begin = Instant::now();
    let mut request = Some(request);
    while let Some(unfinished) = request.take() {
        request = call(|_| unfinished.test()).err();
        if request.is_some() {
            if begin.elapsed() < EAGER { thread::yield_now() } else { thread::sleep(PAUSE) }
        }
    }
}

/// MPI, until it is dropped; every rank has to come to that point.
pub struct Session {
    _universe: Universe,
}

/// The library's name and version.
pub fn library() -> Option<String> {
    let (major, minor) = mpi::environment::version();
    let text = mpi::environment::library_version().unwrap_or_default();
    let name = text.lines().next().unwrap_or_default().trim_end_matches('\0').trim();
    let name = name.split(", package").next().unwrap_or(name);
    Some(format!("{} (MPI {major}.{minor})", name.split_whitespace().collect::<Vec<_>>().join(" ")))
}

/// Joins the other ranks: rank and size.
pub fn open() -> Result<(Session, usize, usize)> {
    let Some((universe, threading)) = mpi::initialize_with_threading(Threading::Serialized) else {
        return Err(Error::internal("MPI was started twice"));
    };
    if threading < Threading::Serialized {
        return Err(Error::new(
            ExitCode::Unavailable,
            "MPI",
            "the library may be used by its first thread only (no MPI_THREAD_SERIALIZED)",
            "Build the MPI library with thread support, as distributions do.",
        ));
    }
    let world = universe.world();
    let (rank, size) = (world.rank() as usize, world.size() as usize);
    Ok((Session { _universe: universe }, rank, size))
}

/// Sends to one rank. Each piece says in its first byte whether another follows.
pub fn send(to: usize, tag: i32, bytes: &[u8]) -> Result<()> {
    let mut rest = bytes;
    loop {
        let (piece, after) = rest.split_at(rest.len().min(MESSAGE));
        rest = after;
        let mut message = Vec::with_capacity(piece.len() + 1);
        message.push(u8::from(!rest.is_empty()));
        message.extend_from_slice(piece);
        scope(|scope| {
            finish(call(|world| world.process_at_rank(to as i32).immediate_send_with_tag(scope, &message[..], tag)));
        });
        if rest.is_empty() {
            return Ok(());
        }
    }
}

/// The next message with this tag, if one has come.
pub fn poll(from: Option<usize>, tag: i32) -> Result<Option<(usize, Vec<u8>)>> {
    let Some((source, mut message)) = poll_piece(from, tag) else { return Ok(None) };
    let mut bytes = message.split_off(1);
    while message[0] != 0 {
        match poll_piece(Some(source), tag) {
            Some((_, next)) => {
                message[0] = next[0];
                bytes.extend_from_slice(&next[1..]);
            }
            None => thread::sleep(PAUSE),
        }
    }
    Ok(Some((source, bytes)))
}

fn poll_piece(from: Option<usize>, tag: i32) -> Option<(usize, Vec<u8>)> {
    let found = call(|world| match from {
        Some(rank) => world.process_at_rank(rank as i32).immediate_matched_probe_with_tag(tag),
        None => world.any_process().immediate_matched_probe_with_tag(tag),
    });
    let (message, status) = found?;
    let mut bytes = vec![0_u8; status.count(u8::equivalent_datatype()) as usize];
    scope(|scope| finish(call(|_| message.immediate_matched_receive_into(scope, &mut bytes[..]))));
    Some((status.source_rank() as usize, bytes))
}

/// Gives what rank `root` has to all.
fn broadcast<V: Equivalence>(root: usize, values: &mut [V], at_once: usize) {
    for piece in values.chunks_mut(at_once) {
        scope(|scope| {
            finish(call(|world| world.process_at_rank(root as i32).immediate_broadcast_into(scope, piece)));
        });
    }
}

pub fn broadcast_bytes(root: usize, bytes: &mut [u8]) -> Result<()> {
    broadcast(root, bytes, MESSAGE);
    Ok(())
}

pub fn broadcast_f32(root: usize, values: &mut [f32]) -> Result<()> {
    broadcast(root, values, MESSAGE / size_of::<f32>());
    Ok(())
}

/// Adds the integers of all ranks into those of `root`; what the others hold is spent.
///
/// Along a tree in which every rank has at most two below it, piece after piece: while one piece comes from them, the one
/// before it goes up. The library's own reduction was several times slower (OpenMPI 4.1.4: docs/scaling.md): up to four
/// ranks it sends kilobytes at a time, and every one waits for somebody to look.
pub fn sum_to(root: usize, rank: usize, values: &mut [i64]) -> Result<()> {
    let size = call(|world| world.size()) as usize;
    let at = |place: usize| ((place + root) % size) as i32;
    let place = (rank + size - root) % size;
    let up = (place > 0).then(|| at((place - 1) / 2));
    let below: Vec<i32> = (2 * place + 1..2 * place + 3).filter(|place| *place < size).map(at).collect();
    let mut copies = vec![vec![0_i64; PIECE.min(values.len())]; below.len()];
    let mut from = 0;
    // The last round sends only.
    while from < values.len() + PIECE {
        let (before, rest) = values.split_at_mut(from.min(values.len()));
        let sent = &before[from.saturating_sub(PIECE).min(before.len())..];
        let length = PIECE.min(rest.len());
        let piece = &mut rest[..length];
        scope(|scope| {
            let receive = |(rank, copy): (&i32, _)| {
                call(|world| world.process_at_rank(*rank).immediate_receive_into_with_tag(scope, copy, SUM))
            };
            let is_any = |_: &(&i32, &mut [i64])| length > 0;
            let come = below.iter().zip(copies.iter_mut().map(|copy| &mut copy[..length])).filter(is_any);
            let come: Vec<_> = come.map(receive).collect();
            if let Some(up) = up.filter(|_| !sent.is_empty()) {
                finish(call(|world| world.process_at_rank(up).immediate_send_with_tag(scope, sent, SUM)));
            }
            come.into_iter().for_each(finish);
        });
        for copy in &copies {
            piece.iter_mut().zip(copy).for_each(|(sum, part)| *sum = sum.wrapping_add(*part));
        }
        from += PIECE;
    }
    Ok(())
}

/// Sends numbers to a rank that sends as many.
pub fn exchange(with: usize, tag: i32, ours: &[i64], theirs: &mut [i64]) -> Result<()> {
    let at_once = MESSAGE / size_of::<i64>();
    for (ours, theirs) in ours.chunks(at_once).zip(theirs.chunks_mut(at_once)) {
        scope(|scope| {
            let receive =
                call(|world| world.process_at_rank(with as i32).immediate_receive_into_with_tag(scope, theirs, tag));
            let send = call(|world| world.process_at_rank(with as i32).immediate_send_with_tag(scope, ours, tag));
            finish(send);
            finish(receive);
        });
    }
    Ok(())
}

/// Ends all ranks; whoever is inside the library cannot hold that up. What was written last is passed on first: MPICH's
/// launcher ends without it otherwise.
pub fn abort(code: i32) -> ! {
    thread::sleep(FORWARDING);
    SimpleCommunicator::world().abort(code)
}
