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
use mpi::collective::SystemOperation;
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

/// Bytes of one message, and numbers of one reduction (8 MB at a time: what lies beside the arena for it).
const MESSAGE: usize = 1 << 28;
const PIECE: usize = 1 << 20;
/// Somebody who works on the same transfer answers at once: so long this thread only yields. Then it sleeps.
const EAGER: Duration = Duration::from_millis(20);
const PAUSE: Duration = Duration::from_micros(200);

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

/// Adds the integers of all ranks into those of `root`; what the others hold stays.
pub fn sum_to(root: usize, rank: usize, values: &mut [i64]) -> Result<()> {
    let mut copy = vec![0; PIECE.min(values.len())];
    let add = SystemOperation::sum();
    for values in values.chunks_mut(PIECE) {
        let ours = &mut copy[..values.len()];
        ours.copy_from_slice(values);
        scope(|scope| {
            if rank == root {
                finish(call(|world| {
                    world.process_at_rank(root as i32).immediate_reduce_into_root(scope, &*ours, values, &add)
                }));
            } else {
                finish(call(|world| world.process_at_rank(root as i32).immediate_reduce_into(scope, &*ours, &add)));
            }
        });
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

/// Ends all ranks; whoever is inside the library cannot hold that up.
pub fn abort(code: i32) -> ! {
    SimpleCommunicator::world().abort(code)
}
