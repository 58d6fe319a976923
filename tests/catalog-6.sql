-- The catalog of a new index of format 6. Another schema is another format: see echosearch/catalog/migrations.py

CREATE TABLE attribute_columns ( number INTEGER NOT NULL, name TEXT NOT NULL, type TEXT NOT NULL, PRIMARY KEY (number), UNIQUE (name) );

CREATE TABLE attributes ( video_id INTEGER NOT NULL, PRIMARY KEY (video_id) );

CREATE TABLE audits ( cohort TEXT NOT NULL, number INTEGER NOT NULL, content TEXT NOT NULL, PRIMARY KEY (cohort, number), FOREIGN KEY(cohort) REFERENCES cohorts (name) );

CREATE TABLE cohorts ( name TEXT NOT NULL, content TEXT NOT NULL, created_at TEXT NOT NULL, PRIMARY KEY (name) );

CREATE TABLE failures ( root_id INTEGER NOT NULL, relative_path TEXT NOT NULL, code TEXT NOT NULL, message TEXT NOT NULL, size_bytes BIGINT, mtime_ns BIGINT, failed_at TEXT NOT NULL, UNIQUE (root_id, relative_path), FOREIGN KEY(root_id) REFERENCES roots (id) );

CREATE TABLE fitted ( kind TEXT NOT NULL, name TEXT NOT NULL, recipe TEXT NOT NULL, content TEXT NOT NULL, created_at TEXT NOT NULL, PRIMARY KEY (kind, name) );

CREATE TABLE purged ( keyed_hash TEXT NOT NULL, PRIMARY KEY (keyed_hash) );

CREATE TABLE retired ( name TEXT NOT NULL, retired_at FLOAT NOT NULL, PRIMARY KEY (name) );

CREATE TABLE roots ( id INTEGER NOT NULL, path TEXT NOT NULL, PRIMARY KEY (id), UNIQUE (path) );

CREATE TABLE scores ( sweep_id INTEGER NOT NULL, "column" INTEGER NOT NULL, video_id INTEGER NOT NULL, value FLOAT NOT NULL, PRIMARY KEY (sweep_id, "column", video_id), FOREIGN KEY(sweep_id) REFERENCES sweeps (id) ) WITHOUT ROWID;

CREATE TABLE segments ( name TEXT NOT NULL, count BIGINT NOT NULL, ids_sha256 TEXT NOT NULL, numerics TEXT NOT NULL, added_generation BIGINT NOT NULL, PRIMARY KEY (name) );

CREATE TABLE state ( id INTEGER NOT NULL, generation BIGINT NOT NULL, next_video_id BIGINT NOT NULL, purge_key TEXT, description TEXT, PRIMARY KEY (id) );

CREATE TABLE sweeps ( id INTEGER NOT NULL, task TEXT NOT NULL, content_id TEXT NOT NULL, form TEXT NOT NULL, formula_version INTEGER NOT NULL, recipe TEXT NOT NULL, precision TEXT NOT NULL, columns TEXT NOT NULL, definition TEXT NOT NULL, created_at TEXT NOT NULL, PRIMARY KEY (id), UNIQUE (content_id, form, formula_version, recipe, precision) );

CREATE TABLE tombstones ( video_id INTEGER NOT NULL, root_id INTEGER NOT NULL, relative_path TEXT NOT NULL, content_sha256 TEXT NOT NULL, PRIMARY KEY (video_id), FOREIGN KEY(root_id) REFERENCES roots (id) );

CREATE TABLE videos ( id INTEGER NOT NULL, segment TEXT, root_id INTEGER NOT NULL, relative_path TEXT NOT NULL, content_sha256 TEXT NOT NULL, size_bytes BIGINT NOT NULL, mtime_ns BIGINT NOT NULL, kind TEXT NOT NULL, num_frames INTEGER NOT NULL, num_embedded_frames INTEGER NOT NULL, height INTEGER NOT NULL, width INTEGER NOT NULL, fps FLOAT, study TEXT, patient TEXT, "view" TEXT, acquired_at TEXT, added_generation BIGINT NOT NULL, added_at TEXT NOT NULL, deleted_at TEXT, replaced_by BIGINT, unverified TEXT, view_predicted TEXT, PRIMARY KEY (id), FOREIGN KEY(segment) REFERENCES segments (name), FOREIGN KEY(root_id) REFERENCES roots (id) );

CREATE UNIQUE INDEX live_path ON videos (root_id, relative_path) WHERE deleted_at IS NULL;

CREATE INDEX tombstone_content ON tombstones (content_sha256);

CREATE INDEX tombstone_path ON tombstones (root_id, relative_path);

CREATE INDEX video_content ON videos (content_sha256);

CREATE INDEX video_deleted ON videos (id) WHERE deleted_at IS NOT NULL;

CREATE INDEX video_patient ON videos (patient);

CREATE INDEX video_segment ON videos (segment);

CREATE INDEX video_study ON videos (study);

CREATE INDEX video_unverified ON videos (id) WHERE unverified IS NOT NULL;
