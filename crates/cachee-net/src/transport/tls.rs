//! TLS by rustls, driven without blocking.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use rustix::event::PollFlags;
use rustls::SignatureScheme;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, ClientConfig, ClientConnection, Connection, Error};
use rustls::{DigitallySignedStruct, RootCertStore, ServerConfig, ServerConnection};
use socket2::Socket;

use super::{Written, receive, transmit, wait_until};
use crate::config::{TlsConfig, Verify};
use crate::error::NetError;
use crate::proxy::config::ListenTls;

/// One TLS connection's state.
pub(super) struct TlsSession {
    connection: Connection,
}

impl TlsSession {
    /// The client's side; hands are shaken as bytes are read and written.
    pub(super) fn client(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, NetError> {
        let connection = ClientConnection::new(config, name).map_err(tls_error)?;
        Ok(Self { connection: connection.into() })
    }

    /// The server's side, likewise.
    pub(super) fn server(config: Arc<ServerConfig>) -> Result<Self, NetError> {
        let connection = ServerConnection::new(config).map_err(tls_error)?;
        Ok(Self { connection: connection.into() })
    }

    /// Shakes hands. Files are read anew each time: certificates rotate.
    pub(super) fn open(
        config: &TlsConfig,
        host: &str,
        socket: &Socket,
        deadline_ms: u64,
    ) -> Result<Self, NetError> {
        let name = server_name(config, host)?;
        let mut session = Self::client(Arc::new(client_config(config)?), name)?;
        while session.connection.is_handshaking() || session.connection.wants_write() {
            session.flush(socket)?;
            let flags = if session.connection.wants_write() {
                PollFlags::IN | PollFlags::OUT
            } else if session.connection.is_handshaking() {
                PollFlags::IN
            } else {
                break;
            };
            wait_until(socket, flags, deadline_ms)?;
            match session.fill(socket) {
                Ok(0) => return Err(NetError::Tls("closed during the handshake".to_owned())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return Err(NetError::Tls(error.to_string()));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(session)
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    pub(super) fn read(&mut self, socket: &Socket, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.connection.reader().read(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Without close_notify the end may be an attacker's; for us an end is an end.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                other => return other,
            }
            if self.fill(socket)? == 0 {
                return Ok(0);
            }
        }
    }

    pub(super) fn write(&mut self, socket: &Socket, bytes: &[u8]) -> io::Result<Written> {
        let mut done = 0;
        loop {
            let is_blocked = !self.flush(socket)?;
            if is_blocked || done == bytes.len() {
                return Ok(Written { bytes: done, is_blocked });
            }
            let taken = self.connection.writer().write(&bytes[done..])?;
            if taken == 0 {
                // Hands are being shaken and it holds enough: what is read ends that.
                return Ok(Written { bytes: done, is_blocked: true });
            }
            done += taken;
        }
    }

    /// Moves bytes from the socket into the session; 0 at the end of the stream.
    fn fill(&mut self, socket: &Socket) -> io::Result<usize> {
        let read = self.connection.read_tls(&mut Plain(socket))?;
        if let Err(error) = self.connection.process_new_packets() {
            // The alert that says why is worth a try.
            let _ = self.flush(socket);
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        // Key updates and tickets may want an answer.
        if self.connection.wants_write() {
            self.flush(socket)?;
        }
        Ok(read)
    }

    /// True when nothing is left to be sent.
    fn flush(&mut self, socket: &Socket) -> io::Result<bool> {
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut Plain(socket)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

struct Plain<'a>(&'a Socket);

impl Read for Plain<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        receive(self.0, into)
    }
}

impl Write for Plain<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        transmit(self.0, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn tls_error(error: impl std::fmt::Display) -> NetError {
    NetError::Tls(error.to_string())
}

/// The name that is asked for and checked.
pub(crate) fn server_name(config: &TlsConfig, host: &str) -> Result<ServerName<'static>, NetError> {
    let name = config.server_name.as_deref().unwrap_or(host);
    let name = if name.is_empty() { "localhost" } else { name };
    ServerName::try_from(name.to_owned())
        .map_err(|_| NetError::Tls(format!("{name:?} is no server name")))
}

/// The listener's side, from PEM files.
pub(crate) fn server_config(config: &ListenTls) -> Result<ServerConfig, NetError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(tls_error)?;
    let builder = match &config.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let trusted = TlsConfig { ca_file: Some(file.clone()), ..TlsConfig::default() };
            let roots = Arc::new(roots(&trusted)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            builder.with_client_cert_verifier(verifier.build().map_err(tls_error)?)
        }
    };
    let key_file = config.key_file.as_ref().unwrap_or(&config.cert_file);
    let (chain, key) = chain_and_key(&config.cert_file, key_file)?;
    builder
        .with_single_cert(chain, key)
        .map_err(|error| of_files(&config.cert_file, key_file, &error))
}

/// What is wrong with a certificate and its key together.
fn of_files(cert_file: &Path, key_file: &Path, error: &rustls::Error) -> NetError {
    NetError::Tls(format!("{} with {}: {error}", cert_file.display(), key_file.display()))
}

fn chain_and_key(
    cert_file: &Path,
    key_file: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), NetError> {
    let chain = CertificateDer::pem_file_iter(cert_file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| NetError::Tls(format!("{}: {error}", cert_file.display())))?;
    let key = PrivateKeyDer::from_pem_file(key_file)
        .map_err(|error| NetError::Tls(format!("{}: {error}", key_file.display())))?;
    Ok((chain, key))
}

pub(crate) fn client_config(config: &TlsConfig) -> Result<ClientConfig, NetError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(tls_error)?
        .dangerous()
        .with_custom_certificate_verifier(verifier(config, provider)?);
    let Some(certificate) = &config.cert_file else { return Ok(builder.with_no_client_auth()) };
    let key = config.key_file.as_ref().unwrap_or(certificate);
    let (chain, secret) = chain_and_key(certificate, key)?;
    builder.with_client_auth_cert(chain, secret).map_err(|error| of_files(certificate, key, &error))
}

fn verifier(
    config: &TlsConfig,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, NetError> {
    if config.verify == Verify::None {
        return Ok(Arc::new(Lenient { chain: None, provider }));
    }
    let chain =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots(config)?), provider.clone())
            .build()
            .map_err(tls_error)?;
    if config.verify == Verify::Full {
        return Ok(chain);
    }
    Ok(Arc::new(Lenient { chain: Some(chain), provider }))
}

fn roots(config: &TlsConfig) -> Result<RootCertStore, NetError> {
    let mut roots = RootCertStore::empty();
    let mut add = |certificates: Vec<CertificateDer<'static>>| {
        roots.add_parsable_certificates(certificates);
    };
    if let Some(file) = &config.ca_file {
        add(CertificateDer::pem_file_iter(file)
            .and_then(Iterator::collect)
            .map_err(|error| NetError::Tls(format!("{}: {error}", file.display())))?);
    }
    if let Some(data) = &config.ca_data {
        add(CertificateDer::pem_slice_iter(data)
            .collect::<Result<_, _>>()
            .map_err(|error| NetError::Tls(format!("ca_data: {error}")))?);
    }
    if config.ca_file.is_none() && config.ca_data.is_none() {
        // Some of the system's files may be unreadable; what matters is whether any was not.
        add(rustls_native_certs::load_native_certs().certs);
    }
    if roots.is_empty() {
        let place = config.ca_file.as_ref().map(|file| format!("{}: ", file.display()));
        let place = place.unwrap_or_default();
        return Err(NetError::Tls(format!("{place}no root certificate found")));
    }
    Ok(roots)
}

/// Checks the chain but not the name, or nothing but the signatures of the handshake itself.
#[derive(Debug)]
struct Lenient {
    chain: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        // The name is looked at last: an error about it says that the chain is sound.
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
