//! Pushes or pulls one file with oci-client, with the credentials that docker's config.json has for the registry:
//! `ociclient push|pull HOST/REPOSITORY:TAG FILE [CA]`. A registry without a CA is spoken to in plain HTTP.

use std::error::Error;
use std::{env, fs};

use docker_credential::{get_credential, CredentialRetrievalError, DockerCredential};
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol, Config, ImageLayer};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};

const FILE: &str = "application/vnd.example.file";
const CONFIG: &str = "application/vnd.example.config+json";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [action, name, file, more @ ..] = arguments.as_slice() else {
        return Err("usage: ociclient push|pull HOST/REPOSITORY:TAG FILE [CA]".into());
    };
    let image: Reference = name.parse()?;
    let auth = credentials(image.registry())?;
    let client = Client::try_from(configuration(more.first())?)?;
    if action == "push" {
        let layers = [ImageLayer::new(fs::read(file)?, FILE.into(), None)];
        let config = Config::new(b"{}".to_vec(), CONFIG.into(), None);
        println!("{}", client.push(&image, &layers, config, &auth, None).await?.manifest_url);
    } else {
        let pulled = client.pull(&image, &auth, vec![FILE]).await?;
        fs::write(file, &pulled.layers[0].data)?;
    }
    Ok(())
}

fn credentials(registry: &str) -> Result<RegistryAuth, Box<dyn Error>> {
    match get_credential(registry) {
        Ok(DockerCredential::UsernamePassword(name, password)) => Ok(RegistryAuth::Basic(name, password)),
        Ok(DockerCredential::IdentityToken(_)) => Err("there is an identity token instead of a password".into()),
        Err(CredentialRetrievalError::NoCredentialConfigured) => Ok(RegistryAuth::Anonymous),
        Err(error) => Err(error.into()),
    }
}

fn configuration(ca: Option<&String>) -> Result<ClientConfig, Box<dyn Error>> {
    let mut configuration = ClientConfig { protocol: ClientProtocol::Http, ..Default::default() };
    if let Some(path) = ca {
        configuration.protocol = ClientProtocol::Https;
        let certificate = Certificate { encoding: CertificateEncoding::Pem, data: fs::read(path)? };
        configuration.extra_root_certificates.push(certificate);
    }
    Ok(configuration)
}
