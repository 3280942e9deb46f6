//! A name server for tests, over UDP and TCP.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use simple_dns::{CLASS, Name, Packet, QTYPE, RCODE, ResourceRecord, TYPE, rdata::RData};

/// What the server is asked.
#[derive(Clone, Debug)]
pub(in super::super) struct Asked {
    pub(in super::super) packet: Packet<'static>,
    pub(in super::super) name: String,
    pub(in super::super) kind: TYPE,
    pub(in super::super) over_tcp: bool,
    pub(in super::super) from: SocketAddr,
}

impl Asked {
    fn new(message: &[u8], from: SocketAddr, over_tcp: bool) -> Option<Self> {
        let packet = Packet::parse(message).ok()?;
        let question = packet.questions.first()?.clone().into_owned();
        let QTYPE::TYPE(kind) = question.qtype else { return None };
        let name = question.qname.to_string();
        let mut asked = Packet::new_query(packet.id());
        asked.questions.push(question);
        Some(Self { packet: asked, name, kind, over_tcp, from })
    }

    /// The answer with these records, each of a name.
    pub(in super::super) fn answer(&self, records: &[(&str, RData<'_>)]) -> Packet<'static> {
        let mut reply = self.packet.clone().into_reply();
        for (name, data) in records {
            let record = ResourceRecord::new(Name::new_unchecked(name), CLASS::IN, 30, data.clone());
            reply.answers.push(record.into_owned());
        }
        reply
    }

    /// The answer that there is none.
    pub(in super::super) fn refuse(&self, code: RCODE) -> Packet<'static> {
        let mut reply = self.packet.clone().into_reply();
        *reply.rcode_mut() = code;
        reply
    }

    /// The answer with one address of the name.
    pub(in super::super) fn address(&self, address: Ipv4Addr) -> Packet<'static> {
        self.answer(&[(&self.name, a(address))])
    }
}

pub(in super::super) fn a(address: Ipv4Addr) -> RData<'static> {
    RData::A(simple_dns::rdata::A { address: address.into() })
}

pub(in super::super) fn bytes(packets: &[Packet<'_>]) -> Vec<Vec<u8>> {
    packets.iter().map(|packet| packet.build_bytes_vec_compressed().unwrap()).collect()
}

/// It runs until it is dropped.
pub(in super::super) struct Server {
    pub(in super::super) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// One that answers each question with these messages, on a port of its own.
    pub(in super::super) fn start(answer: impl Fn(&Asked) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        Self::at((Ipv4Addr::LOCALHOST, 0).into(), answer)
    }

    pub(in super::super) fn at(
        address: SocketAddr,
        answer: impl Fn(&Asked) -> Vec<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        // The port must be free for both protocols.
        let bind = || {
            let udp = UdpSocket::bind(address).ok()?;
            let tcp = TcpListener::bind(udp.local_addr().unwrap()).ok()?;
            Some((udp, tcp))
        };
        let (udp, tcp) = (0..100).find_map(|_| bind()).unwrap();
        let address = udp.local_addr().unwrap();
        let (asked, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let answer = Arc::new(answer);
        let of_udp = {
            let (answer, asked, stop) = (Arc::clone(&answer), Arc::clone(&asked), Arc::clone(&stop));
            move || serve_udp(&udp, &*answer, &asked, &stop)
        };
        let of_tcp = {
            let (asked, stop) = (Arc::clone(&asked), Arc::clone(&stop));
            move || serve_tcp(&tcp, &*answer, &asked, &stop)
        };
        let threads = vec![thread::spawn(of_udp), thread::spawn(of_tcp)];
        Self { address, asked, stop, threads }
    }

    /// What it was asked: names, and whether over TCP.
    pub(in super::super) fn asked(&self) -> Vec<(String, TYPE, bool)> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|asked| (asked.name.clone(), asked.kind, asked.over_tcp)).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Both threads wake up.
        UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().send_to(b"", self.address).unwrap();
        drop(TcpStream::connect(self.address));
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

type Answer = dyn Fn(&Asked) -> Vec<Vec<u8>> + Send + Sync;

fn serve_udp(socket: &UdpSocket, answer: &Answer, asked: &Mutex<Vec<Asked>>, stop: &AtomicBool) {
    let mut buffer = [0; 2000];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let question = Asked::new(&buffer[..length], from, false).unwrap();
        asked.lock().unwrap().push(question.clone());
        for message in answer(&question) {
            socket.send_to(&message, from).unwrap();
        }
    }
}

fn serve_tcp(listener: &TcpListener, answer: &Answer, asked: &Mutex<Vec<Asked>>, stop: &AtomicBool) {
    loop {
        let (mut stream, from) = listener.accept().unwrap();
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut message = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut message).unwrap();
        let question = Asked::new(&message, from, true).unwrap();
        asked.lock().unwrap().push(question.clone());
        for message in answer(&question) {
            let length = u16::try_from(message.len()).unwrap().to_be_bytes();
            // In two pieces, as the network may bring it.
            stream.write_all(&length[..1]).unwrap();
            stream.write_all(&[&length[1..], &message].concat()).unwrap();
        }
    }
}
