//! The helper: a child of the spawner that goes where it is sent, gives up what it has, and then executes checks, one
//! after the other, until nobody asks any more.

use std::{
    io::{Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::SigSet,
    unistd::{Pid, alarm, setpgid},
};

use rustix::process::{WaitId, WaitIdOptions, getpid, set_child_subreaper, waitid};

use super::{
    enter::{self, Place, failed},
    frames::{Asked, HEADER, Header, Kind, Refusal, frame},
    lockdown,
    orders::{Expected, Needs},
    spawner::Host,
};
use crate::{
    catalogue::Namespace,
    input::check::{Dir, Inside, Known, wire},
    sys,
};

/// Nobody asks: the helper leaves.
pub(super) const IDLE: Duration = Duration::from_secs(30);
/// What a check may take beyond its time before the helper ends by itself: the agent should have ended it.
const GRACE: u64 = 2;

/// What those get to end that a check has started and not ended itself.
const FUNERAL: Duration = Duration::from_millis(100);

/// Whether the first process of such a helper ends once it has made the second one.
pub(super) fn relays(needs: Needs, expected: Option<&Expected>) -> bool {
    expected.is_some() && needs.enters(Namespace::Pid)
}

/// The life of a helper.
pub(super) fn run(host: &Host, needs: Needs, expected: Option<&Expected>, connection: OwnedFd) -> ! {
    let code = match arrive(host, needs, expected, &connection) {
        Ok(place) => {
            let life = serve(place, connection, host.checks);
            i32::from(life.is_none())
        }
        Err(refusal) => {
            let said = refusal.frame().map(|bytes| UnixStream::from(connection).write_all(&bytes));
            i32::from(said.is_ok()) + 1
        }
    };
    sys::leave(code)
}

fn arrive(
    host: &Host,
    needs: Needs,
    expected: Option<&Expected>,
    connection: &OwnedFd,
) -> Result<Place, Refusal> {
    // Both sides do it: what one of them has done already is no error that matters.
    let _done_already = setpgid(Pid::from_raw(0), Pid::from_raw(0));
    let place = match expected {
        Some(expected) => enter::container(host, needs, expected)?,
        None => enter::host(host, needs)?,
    };
    // The spawner waits for signals by a descriptor.
    SigSet::all().thread_unblock().map_err(failed("signals"))?;
    if needs.executes() {
        // Whatever a program leaves behind falls to this process.
        set_child_subreaper(Some(getpid())).map_err(failed("subreaper"))?;
    }
    lockdown::lock(host, needs, &place, connection)?;
    Ok(place)
}

/// Answers until it is to leave. None says that something went wrong.
fn serve(place: Place, connection: OwnedFd, checks: &[Known]) -> Option<()> {
    let Place { root, process, procfs, life, net, is_inside, .. } = place;
    let mut inside = Inside {
        deadline: Instant::now(),
        root: Dir::from_fd(root),
        process: Dir::from_fd(process),
        procfs: procfs.map(Dir::from_fd),
    };
    let mut connection = UnixStream::from(connection);
    connection.write_all(&frame(Kind::Ready, 0, &[&net.to_le_bytes()]).ok()?).ok()?;
    let mut body = Vec::new();
    while is_asked(&connection, life.as_ref())? {
        let mut header = [0; HEADER];
        if connection.read_exact(&mut header).is_err() {
            // The agent needs it no longer.
            return Some(());
        }
        let header = Header::parse(&header).ok().filter(|header| header.kind == Kind::Request)?;
        body.resize(header.length, 0);
        connection.read_exact(&mut body).ok()?;
        let asked = Asked::parse(&body).ok()?;
        let (response, is_sound) = answer(&asked, &mut inside, checks, is_inside);
        connection.write_all(&frame(Kind::Response, header.sequence, &[&response]).ok()?).ok()?;
        if !is_sound {
            return None;
        }
    }
    connection.write_all(&frame(Kind::Leaving, 0, &[]).ok()?).ok()
}

/// Waits for a request. False when there is no reason to wait any longer.
fn is_asked(connection: &UnixStream, life: Option<&OwnedFd>) -> Option<bool> {
    let mut sources = vec![PollFd::new(connection.as_fd(), PollFlags::POLLIN)];
    // A helper would keep the network of a dead pod alive.
    sources.extend(life.map(|life| PollFd::new(life.as_fd(), PollFlags::POLLIN)));
    loop {
        match poll(&mut sources, PollTimeout::try_from(IDLE).ok()?) {
            Err(Errno::EINTR) => {}
            Err(_) => return None,
            Ok(0) => return Some(false),
            Ok(_) => break,
        }
    }
    let ended = sources.get(1).is_some_and(|life| life.any().unwrap_or(true));
    Some(!ended)
}

/// Takes leave of what a check has started, as it ends: were this process to end first, zombies would stay behind in
/// the container. A check that starts nothing has no children.
fn bury() {
    let until = Instant::now() + FUNERAL;
    loop {
        match waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) if Instant::now() < until => {
                let _woken = poll(&mut [], PollTimeout::from(1_u8));
            }
            _ => break,
        }
    }
}

/// Executes a check. False when it left things in a state that nobody should rely on.
fn answer(asked: &Asked<'_>, inside: &mut Inside, checks: &[Known], may_start: bool) -> (Vec<u8>, bool) {
    let Some(known) = checks.iter().find(|known| known.def.name == asked.input) else {
        return (wire::Response::failure(&format!("there is no check {}", asked.input)), true);
    };
    inside.deadline = Instant::now() + asked.left;
    let seconds = asked.left.as_secs().saturating_add(GRACE);
    alarm::set(u32::try_from(seconds).unwrap_or(u32::MAX));
    let executed = catch_unwind(AssertUnwindSafe(|| {
        let mut response = wire::Response::new();
        let done = (known.blank)().execute_request(asked.body, inside, &mut response);
        match done {
            Ok(()) => {
                response.into_bytes().unwrap_or_else(|error| wire::Response::failure(&error.to_string()))
            }
            Err(error) => wire::Response::failure(&error.to_string()),
        }
    }));
    if may_start {
        bury();
    }
    alarm::cancel();
    match executed {
        Ok(response) => (response, true),
        Err(_) => (wire::Response::failure("the check panicked"), false),
    }
}
