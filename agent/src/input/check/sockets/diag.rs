//! Sockets of a network namespace, as the kernel lists them (sock_diag). Each is looked at as it comes and forgotten.

use std::{
    io,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable, Parseable,
};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_UDP, SOCK_DIAG_BY_FAMILY},
    inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

/// What the kernel fills in one go at the most.
const BUFFER: usize = 32 << 10;

/// `TCPDIAG_GETSOCK`, the older request for TCP. It may leave the family open, so that the kernel goes through its table
/// of all connections of the host once, and not once for each family: that is most of what a list takes.
const TCP_OF_ALL_FAMILIES: u16 = 18;
/// Bytes of such a request (`struct inet_diag_req`), and where the wanted states are in it.
const OLDER: usize = 60;
const OLDER_STATES: usize = 52;
/// Every state from 1 to 12, as bits. There is one more, for which the kernel would go through its table of ports as well.
const STATES: u32 = (1 << 13) - 2;

const ERROR: u16 = 2;
const DONE: u16 = 3;
const OVERRUN: u16 = 4;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) const ALL: [Self; 2] = [Self::V4, Self::V6];
    pub(super) const LABELS: &[&str] = &["ipv4", "ipv6"];
}

/// What there is a list of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    Tcp,
    Udp(Family),
}

/// A socket. Where it listens, the queues are of connections, and the second is the longest it may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) family: Family,
    pub(super) state: u8,
    pub(super) port: u16,
    pub(super) receive: u32,
    pub(super) send: u32,
}

/// A connection to the kernel for as many lists as are wanted, in the network namespace of the caller.
pub(super) struct Lister {
    socket: Socket,
    buffer: Vec<u8>,
    deadline: Instant,
}

impl Lister {
    pub(super) fn new(deadline: Instant) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
        socket.bind_auto()?;
        // Nobody but the kernel answers.
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_non_blocking(true)?;
        Ok(Self { socket, buffer: Vec::with_capacity(BUFFER), deadline })
    }

    /// Shows every socket of a list. After an error this is of no use any more: the rest of the list may still come.
    pub(super) fn list(&mut self, list: List, mut see: impl FnMut(Seen)) -> io::Result<()> {
        self.socket.send(&list.question(), 0)?;
        loop {
            if self.deadline <= Instant::now() {
                let why = "there are more sockets than can be listed in time";
                return Err(io::Error::new(io::ErrorKind::TimedOut, why));
            }
            self.buffer.clear();
            // The first piece is there already: the kernel has written it before it returned.
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) if read(&self.buffer, &mut see)? => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait(&self.socket, self.deadline)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl List {
    fn question(self) -> Vec<u8> {
        match self {
            Self::Tcp => bytes(TcpRequest),
            Self::Udp(family) => {
                let (family, socket_id) = match family {
                    Family::V4 => (AF_INET, SocketId::new_v4()),
                    Family::V6 => (AF_INET6, SocketId::new_v6()),
                };
                bytes(SockDiagMessage::InetRequest(InetRequest {
                    family,
                    protocol: IPPROTO_UDP,
                    extensions: ExtensionFlags::empty(),
                    states: StateFlags::all(),
                    socket_id,
                }))
            }
        }
    }
}

/// All TCP sockets of every family.
struct TcpRequest;

impl NetlinkSerializable for TcpRequest {
    fn message_type(&self) -> u16 {
        TCP_OF_ALL_FAMILIES
    }

    fn buffer_len(&self) -> usize {
        OLDER
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.fill(0);
        buffer[OLDER_STATES..][..4].copy_from_slice(&STATES.to_ne_bytes());
    }
}

fn bytes<M: NetlinkSerializable>(request: M) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

fn wait(socket: &Socket, deadline: Instant) -> io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
    let timeout = PollTimeout::try_from(left.as_millis()).unwrap_or(PollTimeout::MAX);
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    match poll(&mut fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Why there is no list. Nobody may know how to ask for it, which is the same to whoever asks.
fn refused(errno: i32) -> io::Error {
    match Errno::from_raw(errno) {
        Errno::ENOENT | Errno::EOPNOTSUPP => io::Error::new(
            io::ErrorKind::NotFound,
            "the kernel has no such list: it takes its modules inet_diag, tcp_diag and udp_diag (modprobe them)",
        ),
        _ => io::Error::from_raw_os_error(errno),
    }
}

/// Looks at the messages of a piece. Whether the list ends with it.
fn read(mut piece: &[u8], see: &mut impl FnMut(Seen)) -> io::Result<bool> {
    while !piece.is_empty() {
        let message = NetlinkBuffer::new_checked(piece).map_err(io::Error::other)?;
        let payload = message.payload();
        match message.message_type() {
            SOCK_DIAG_BY_FAMILY | TCP_OF_ALL_FAMILIES => {
                let header = InetResponseHeader::parse(payload).map_err(io::Error::other)?;
                see(Seen {
                    family: if header.family == AF_INET6 { Family::V6 } else { Family::V4 },
                    state: header.state,
                    port: header.socket_id.source_port,
                    receive: header.recv_queue,
                    send: header.send_queue,
                });
            }
            // Both carry the negative number of an error, or zero.
            ERROR | DONE => {
                let code = payload.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                return if code < 0 { Err(refused(-code)) } else { Ok(true) };
            }
            OVERRUN => return Err(io::Error::other("the kernel lost a part of the list")),
            _ => {}
        }
        let length = (message.length() as usize).next_multiple_of(4);
        piece = piece.get(length..).unwrap_or_default();
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn errors_of_the_kernel_are_errors() {
        let message = |kind: u16, payload: &[u8]| {
            let length = u32::try_from(16 + payload.len()).unwrap();
            let mut bytes = length.to_ne_bytes().to_vec();
            bytes.extend(kind.to_ne_bytes());
            bytes.extend([0; 10]);
            bytes.extend(payload);
            bytes
        };
        let is_missing = |errno: i32| {
            read(&message(ERROR, &(-errno).to_ne_bytes()), &mut |_| {})
                .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        assert!(is_missing(libc::ENOENT) && is_missing(libc::EOPNOTSUPP) && !is_missing(libc::EPERM));
        let read = |bytes: &[u8]| read(bytes, &mut |_| {}).map_err(|error| error.raw_os_error());
        assert_eq!(read(&message(ERROR, &(-1_i32).to_ne_bytes())), Err(Some(1)));
        assert_eq!(read(&message(DONE, &0_i32.to_ne_bytes())), Ok(true));
        assert_eq!(read(&message(DONE, b"")), Ok(true));
        assert_eq!(read(&message(OVERRUN, b"")), Err(None));
        assert_eq!(read(&message(SOCK_DIAG_BY_FAMILY, &[0; 20])), Err(None));
        assert_eq!(read(&[message(77, b"abc_"), message(DONE, b"")].concat()), Ok(true));
        assert_eq!(read(b""), Ok(false));
    }

    #[test]
    fn what_takes_too_long_is_an_error() {
        let error = Lister::new(Instant::now()).unwrap().list(List::Tcp, |_| {}).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    proptest! {
        #[test]
        fn any_bytes_are_messages_or_an_error(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes, &mut |_| {});
            if bytes.len() >= 6 {
                bytes[..6].copy_from_slice(&[88, 0, 0, 0, 20, 0]);
                let _ = read(&bytes, &mut |_| {});
            }
        }
    }
}
