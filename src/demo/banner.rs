//! What the demo prints: lines to paste.

use std::fmt;
use std::path::PathBuf;

use super::folder::{Addresses, BUCKET};
use super::model::MODEL;
use super::store::LACKS;
use crate::keys::generate::Generated;
use crate::secret::Secret;

/// Everything that a visitor needs. Its `Display` shows secrets: they are the demo's own and end with it.
pub(super) struct Banner {
    pub(super) addresses: Addresses,
    pub(super) admin_token: Secret,
    pub(super) storage: Generated,
    pub(super) ai: Generated,
    pub(super) folder: PathBuf,
}

impl fmt::Display for Banner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Addresses { s3, ai, admin } = self.addresses;
        let id = &self.storage.key;
        let secret = text(&self.storage.secret);
        let bearer = text(&self.ai.secret);
        let token = text(&self.admin_token);
        let folder = self.folder.display();
        write!(
            f,
            r#"
Aqueduct is running over an S3 store and an echo model of its own. Ctrl-C ends it and removes {folder}.

# S3, bucket {BUCKET}: aws cli
export AWS_ACCESS_KEY_ID={id} AWS_SECRET_ACCESS_KEY={secret} AWS_DEFAULT_REGION=us-east-1
aws --endpoint-url http://{s3} s3 ls s3://{BUCKET}
echo hi | aws --endpoint-url http://{s3} s3 cp - s3://{BUCKET}/hi.txt

# S3: boto3
python3 -c 'import boto3; s3 = boto3.client("s3", endpoint_url="http://{s3}", region_name="us-east-1", aws_access_key_id="{id}", aws_secret_access_key="{secret}"); print(s3.get_object(Bucket="{BUCKET}", Key="hello.txt")["Body"].read().decode())'

# OpenAI, model {MODEL} (also as fast): curl, streaming
curl -N http://{ai}/v1/chat/completions -H 'Authorization: Bearer {bearer}' -H 'Content-Type: application/json' -d '{{"model":"fast","stream":true,"messages":[{{"role":"user","content":"Water flows where the channel leads."}}]}}'

# OpenAI: the openai package
python3 -c 'import openai; c = openai.OpenAI(base_url="http://{ai}/v1", api_key="{bearer}"); print(c.chat.completions.create(model="{MODEL}", messages=[{{"role": "user", "content": "hello"}}]).choices[0].message.content)'

# Admin and metrics
curl http://{admin}/repo -H 'Authorization: Bearer {token}'
curl http://{admin}/metrics -H 'Authorization: Bearer {token}'

The store is for trying things out: it has no {LACKS}.
"#
        )
    }
}

/// Made by us of ASCII.
fn text(secret: &Secret) -> &str {
    secret.expose_str().unwrap_or_default()
}
