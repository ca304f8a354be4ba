//! The wire: MPI. Messages are cut at a constant, because MPI counts in 32 bits.

use mpi::Threading;
use mpi::collective::Root;
use mpi::collective::SystemOperation;
use mpi::environment::Universe;
use mpi::point_to_point::Destination;
use mpi::point_to_point::MatchedReceiveVec;
use mpi::point_to_point::Source;
use mpi::point_to_point::send_receive_into;
use mpi::topology::Communicator;
use mpi::topology::SimpleCommunicator;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;

/// Bytes of one message, and numbers of one reduction (8 MB at a time: what lies beside the arena for it).
const MESSAGE: usize = 1 << 28;
const PIECE: usize = 1 << 20;

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
    let Some((universe, threading)) = mpi::initialize_with_threading(Threading::Multiple) else {
        return Err(Error::internal("MPI was started twice"));
    };
    if threading < Threading::Multiple {
        return Err(Error::new(
            ExitCode::Unavailable,
            "MPI",
            "the library does not let several threads talk (MPI_THREAD_MULTIPLE)",
            "Build the MPI library with thread support, as distributions do.",
        ));
    }
    let world = universe.world();
    let (rank, size) = (world.rank() as usize, world.size() as usize);
    Ok((Session { _universe: universe }, rank, size))
}

fn world() -> SimpleCommunicator {
    SimpleCommunicator::world()
}

/// Sends to one rank. Each piece says in its first byte whether another follows.
pub fn send(to: usize, tag: i32, bytes: &[u8]) -> Result<()> {
    let world = world();
    let to = world.process_at_rank(to as i32);
    let mut pieces = bytes.chunks(MESSAGE).peekable();
    if pieces.peek().is_none() {
        to.send_with_tag(&[0_u8][..], tag);
    }
    while let Some(piece) = pieces.next() {
        let mut message = Vec::with_capacity(piece.len() + 1);
        message.push(u8::from(pieces.peek().is_some()));
        message.extend_from_slice(piece);
        to.send_with_tag(&message[..], tag);
    }
    Ok(())
}

/// The next message with this tag, if one has come.
pub fn poll(from: Option<usize>, tag: i32) -> Result<Option<(usize, Vec<u8>)>> {
    let world = world();
    let found = match from {
        Some(rank) => world.process_at_rank(rank as i32).immediate_matched_probe_with_tag(tag),
        None => world.any_process().immediate_matched_probe_with_tag(tag),
    };
    let Some(found) = found else { return Ok(None) };
    let (mut message, status): (Vec<u8>, _) = found.matched_receive_vec();
    let source = status.source_rank();
    let mut bytes = message.split_off(1);
    while message[0] != 0 {
        let next: Vec<u8> = world.process_at_rank(source).receive_vec_with_tag(tag).0;
        message[0] = next[0];
        bytes.extend_from_slice(&next[1..]);
    }
    Ok(Some((source as usize, bytes)))
}

pub fn broadcast_bytes(root: usize, bytes: &mut [u8]) -> Result<()> {
    let world = world();
    let root = world.process_at_rank(root as i32);
    bytes.chunks_mut(MESSAGE).for_each(|piece| root.broadcast_into(piece));
    Ok(())
}

pub fn broadcast_f32(root: usize, values: &mut [f32]) -> Result<()> {
    let world = world();
    let root = world.process_at_rank(root as i32);
    values.chunks_mut(MESSAGE / 4).for_each(|piece| root.broadcast_into(piece));
    Ok(())
}

/// Adds the integers of all ranks into those of `root`; what the others hold stays.
pub fn sum_to(root: usize, rank: usize, values: &mut [i64]) -> Result<()> {
    let world = world();
    let process = world.process_at_rank(root as i32);
    let mut piece = vec![0; PIECE.min(values.len())];
    for values in values.chunks_mut(PIECE) {
        if rank == root {
            let ours = &mut piece[..values.len()];
            ours.copy_from_slice(values);
            process.reduce_into_root(&*ours, values, SystemOperation::sum());
        } else {
            process.reduce_into(&*values, SystemOperation::sum());
        }
    }
    Ok(())
}

/// Sends numbers to a rank that sends as many.
pub fn exchange(with: usize, ours: &[i64], theirs: &mut [i64]) -> Result<()> {
    let world = world();
    let with = world.process_at_rank(with as i32);
    for (ours, theirs) in ours.chunks(MESSAGE / 8).zip(theirs.chunks_mut(MESSAGE / 8)) {
        send_receive_into(ours, &with, theirs, &with);
    }
    Ok(())
}

/// Ends all ranks.
pub fn abort(code: i32) -> ! {
    world().abort(code)
}
