//! [`Store`]: an S3 server on loopback that keeps objects as files. It is `s3s-fs`, which checks SigV4 and
//! does most of what clients ask; [`LACKS`] says what it does not.

use std::path::Path;

use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;

use super::listen::{Server, serve};
use super::random;
use crate::error::{Error, Result};

/// What the banner says about the store.
pub(super) const LACKS: &str =
    "versions, tags, ACLs, policies, lifecycle, object lock or list of unfinished uploads";

/// A running store; its files are its folder's owner's to remove.
#[derive(Debug)]
pub struct Store {
    server: Server,
    access_key_id: String,
    secret_access_key: String,
}

impl Store {
    /// Starts on a free port of loopback with new credentials. A folder in `root` is a bucket.
    pub async fn start(root: &Path) -> Result<Self> {
        let access_key_id = format!("STORE{}", random()[..15].to_uppercase());
        let secret_access_key = random();
        let files = s3s_fs::FileSystem::new(root)
            .map_err(|error| Error::internal(format_args!("cannot open the store: {error:?}")))?;
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(
            &*access_key_id,
            &*secret_access_key,
        ));
        let server = serve(builder.build()).await?;
        Ok(Self {
            server,
            access_key_id,
            secret_access_key,
        })
    }

    /// What `endpoint` of a resource says.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.server.address())
    }

    pub fn access_key_id(&self) -> &str {
        &self.access_key_id
    }

    pub fn secret_access_key(&self) -> &str {
        &self.secret_access_key
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use object_store::aws::AmazonS3Builder;
    use object_store::path::Path as Key;
    use object_store::{ObjectStore as _, ObjectStoreExt as _};

    use super::*;

    /// The builder for the store's bucket, without the secret.
    fn client(store: &Store) -> AmazonS3Builder {
        AmazonS3Builder::new()
            .with_endpoint(store.endpoint())
            .with_allow_http(true)
            .with_region("us-east-1")
            .with_bucket_name("demo")
            .with_access_key_id(store.access_key_id())
    }

    #[tokio::test]
    async fn a_real_client_writes_reads_and_lists_and_a_wrong_secret_does_not() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("demo")).unwrap();
        let store = Store::start(folder.path()).await.unwrap();
        let good = client(&store).with_secret_access_key(store.secret_access_key());
        let good = good.build().unwrap();
        let key = Key::from("a/b.txt");
        good.put(&key, "hello".into()).await.unwrap();
        let read = good.get(&key).await.unwrap().bytes().await.unwrap();
        assert_eq!(&read[..], b"hello");
        let listed: Vec<_> = good.list(None).collect().await;
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].as_ref().unwrap().location, key);
        let wrong = client(&store).with_secret_access_key("wrong");
        assert!(wrong.build().unwrap().get(&key).await.is_err());
    }
}
