//! What the model's commands do and answer.

use super::*;

impl Server {
    #[allow(clippy::too_many_lines)] // one arm a command
    pub(super) fn execute(&mut self, at: usize, name: &[u8], words: &[Vec<u8>]) -> Vec<u8> {
        let conn = &mut self.conns[at];
        let (is_resp3, db, user) = (conn.is_resp3, conn.db, conn.user);
        if refuses(user, words) {
            return NOPERM.to_vec();
        }
        let word = |place: usize| words.get(place).map_or(&b""[..], Vec::as_slice);
        let key = (db, word(1).to_vec());
        let mut reply = Vec::new();
        match name {
            b"PING" => reply.extend_from_slice(b"+PONG\r\n"),
            b"ECHO" => bulk(word(1), &mut reply),
            b"GET" => match self.read(at, &key, b's') {
                Ok(value) => bulk_or_null(value.as_deref(), is_resp3, &mut reply),
                Err(()) => reply.extend_from_slice(WRONGTYPE),
            },
            b"STRLEN" => match self.read(at, &key, b's') {
                Ok(value) => integer(value.map_or(0, |value| value.len()), &mut reply),
                Err(()) => reply.extend_from_slice(WRONGTYPE),
            },
            b"MGET" => {
                header(b'*', words.len() - 1, &mut reply);
                for word in &words[1..] {
                    let value = self.read(at, &(db, word.clone()), b's').unwrap_or_default();
                    bulk_or_null(value.as_deref(), is_resp3, &mut reply);
                }
            }
            b"HGET" => match self.read(at, &key, b'h') {
                Ok(value) => bulk_or_null(value.as_deref(), is_resp3, &mut reply),
                Err(()) => reply.extend_from_slice(WRONGTYPE),
            },
            b"HGETALL" => match self.read(at, &key, b'h') {
                Ok(value) => {
                    let count = usize::from(value.is_some());
                    let kind = if is_resp3 { b'%' } else { b'*' };
                    header(kind, if is_resp3 { count } else { 2 * count }, &mut reply);
                    if let Some(value) = value {
                        bulk(b"f", &mut reply);
                        bulk(&value, &mut reply);
                    }
                }
                Err(()) => reply.extend_from_slice(WRONGTYPE),
            },
            b"LRANGE" => match self.read(at, &key, b'l') {
                Ok(value) => {
                    let value = value.unwrap_or_default();
                    let elements: Vec<&[u8]> = value.split(|&byte| byte == b',').collect();
                    let count = if value.is_empty() { 0 } else { elements.len() };
                    header(b'*', count, &mut reply);
                    elements.iter().take(count).for_each(|element| bulk(element, &mut reply));
                }
                Err(()) => reply.extend_from_slice(WRONGTYPE),
            },
            b"PTTL" => {
                let left_ms = match self.data.get(&key) {
                    None => -2,
                    Some((_, None)) => -1,
                    Some((_, Some(until_ms))) => {
                        if self.mutation == Some(Mutation::TtlIgnored) {
                            -1
                        } else {
                            (until_ms - self.now_ms) as i64
                        }
                    }
                };
                reply.extend_from_slice(format!(":{left_ms}\r\n").as_bytes());
            }
            b"SET" | b"HSET" => {
                let value = words[if name == b"HSET" { 3 } else { 2 }].clone();
                let life_ms = words.get(4).filter(|_| name == b"SET");
                let until = life_ms
                    .and_then(|life| std::str::from_utf8(life).ok()?.parse::<u64>().ok())
                    .map(|life_ms| self.now_ms + life_ms);
                let was_there = self.value(&key).is_some();
                self.conns[at].executed_writes += 1;
                self.set(Some(at), &key, Some(value), until);
                if name == b"SET" {
                    reply.extend_from_slice(b"+OK\r\n");
                } else {
                    integer(usize::from(!was_there), &mut reply);
                }
            }
            b"MSET" => {
                for pair in words[1..].chunks(2) {
                    self.set(Some(at), &(db, pair[0].clone()), Some(pair[1].clone()), None);
                }
                self.conns[at].executed_writes += 1;
                reply.extend_from_slice(b"+OK\r\n");
            }
            b"PEXPIRE" => {
                let life_ms: u64 = std::str::from_utf8(word(2)).unwrap().parse().unwrap();
                let value = self.value(&key).map(<[u8]>::to_vec);
                integer(usize::from(value.is_some()), &mut reply);
                if value.is_some() {
                    self.set(Some(at), &key, value, Some(self.now_ms + life_ms));
                }
            }
            b"DEL" => {
                let was_there = self.value(&key).is_some();
                if was_there {
                    self.set(Some(at), &key, None, None);
                }
                integer(usize::from(was_there), &mut reply);
            }
            b"INCR" => {
                let unique = self.unique();
                self.conns[at].executed_writes += 1;
                self.set(Some(at), &key, Some(unique.to_string().into_bytes()), None);
                integer(unique as usize, &mut reply);
            }
            b"RPUSH" => {
                let mut value = self.value(&key).map(<[u8]>::to_vec).unwrap_or_default();
                if !value.is_empty() {
                    value.push(b',');
                }
                value.extend_from_slice(word(2));
                integer(value.split(|&byte| byte == b',').count(), &mut reply);
                self.set(Some(at), &key, Some(value), None);
            }
            // The script says which key it sets, to what.
            b"EVAL" => {
                let script: Vec<&[u8]> = word(1).split(|&byte| byte == b' ').collect();
                let key = (db, script[0].to_vec());
                self.conns[at].executed_writes += 1;
                self.set(Some(at), &key, Some(script[1].to_vec()), None);
                reply.extend_from_slice(null(is_resp3));
            }
            b"FLUSHALL" => {
                self.flush(Some(at));
                reply.extend_from_slice(b"+OK\r\n");
            }
            b"PUBLISH" => integer(self.publish(word(1)), &mut reply),
            _ => self.execute_on_connection(at, name, words, &mut reply),
        }
        reply
    }

    pub(super) fn execute_on_connection(
        &mut self,
        at: usize,
        name: &[u8],
        words: &[Vec<u8>],
        reply: &mut Vec<u8>,
    ) {
        let conn = &mut self.conns[at];
        match name {
            b"SELECT" => conn.db = std::str::from_utf8(&words[1]).unwrap().parse().unwrap(),
            b"AUTH" => {
                let Some(user) = user_of(&words[1], &words[2]) else {
                    return reply.extend_from_slice(b"-WRONGPASS invalid username-password\r\n");
                };
                conn.user = Some(user);
            }
            b"HELLO" => {
                conn.is_resp3 = words[1] == b"3";
                let kind = if conn.is_resp3 { "%1" } else { "*2" };
                let version = if conn.is_resp3 { 3 } else { 2 };
                return reply.extend_from_slice(
                    format!("{kind}\r\n$5\r\nproto\r\n:{version}\r\n").as_bytes(),
                );
            }
            b"RESET" => {
                *conn = Conn {
                    inbound: std::mem::take(&mut conn.inbound),
                    out: std::mem::take(&mut conn.out),
                    log: std::mem::take(&mut conn.log),
                    pushed: std::mem::take(&mut conn.pushed),
                    executed_writes: conn.executed_writes,
                    ..Conn::default()
                };
                return reply.extend_from_slice(b"+RESET\r\n");
            }
            b"MULTI" => {
                if conn.multi.is_some() {
                    return reply.extend_from_slice(b"-ERR MULTI calls can not be nested\r\n");
                }
                conn.multi = Some(Vec::new());
                conn.is_aborted = false;
            }
            b"EXEC" => return self.exec(at, reply),
            b"DISCARD" => {
                if conn.multi.take().is_none() {
                    return reply.extend_from_slice(b"-ERR DISCARD without MULTI\r\n");
                }
                conn.watched.clear();
                conn.is_dirty = false;
            }
            b"WATCH" => {
                if conn.multi.is_some() {
                    return reply.extend_from_slice(b"-ERR WATCH inside MULTI is not allowed\r\n");
                }
                let db = conn.db;
                conn.watched.extend(words[1..].iter().map(|key| (db, key.clone())));
            }
            b"UNWATCH" => {
                conn.watched.clear();
                conn.is_dirty = false;
            }
            b"CLIENT" => {
                let is_on = words[2].eq_ignore_ascii_case(b"ON");
                if is_on && !conn.is_resp3 {
                    return reply.extend_from_slice(b"-ERR tracking needs RESP3\r\n");
                }
                conn.tracks = is_on;
            }
            b"QUIT" => {}
            _ => return reply.extend_from_slice(b"-ERR unknown command\r\n"),
        }
        reply.extend_from_slice(b"+OK\r\n");
    }

    pub(super) fn exec(&mut self, at: usize, reply: &mut Vec<u8>) {
        let conn = &mut self.conns[at];
        let Some(queued) = conn.multi.take() else {
            return reply.extend_from_slice(b"-ERR EXEC without MULTI\r\n");
        };
        conn.watched.clear();
        let is_dirty = std::mem::take(&mut conn.is_dirty);
        if conn.is_aborted {
            return reply.extend_from_slice(b"-EXECABORT Transaction discarded\r\n");
        }
        if is_dirty {
            let null: &[u8] = if conn.is_resp3 { b"_\r\n" } else { b"*-1\r\n" };
            return reply.extend_from_slice(null);
        }
        header(b'*', queued.len(), reply);
        for words in queued {
            let name = words[0].to_ascii_uppercase();
            reply.extend_from_slice(&self.execute(at, &name, &words));
        }
    }
}
