import { type Kysely, sql } from 'kysely';

// Every key starts with the tenant, so that no foreign key crosses tenants: row-level security does not apply to the
// checks of foreign keys. Times have the precision of JavaScript, milliseconds, so that reading and writing one does
// not change it.
const statements = [
  `create table tenant (
     id text primary key,
     name text not null check (name <> ''),
     created_at timestamptz(3) not null default clock_timestamp()
   )`,
  `create table whatsapp_number (
     tenant_id text not null references tenant,
     id text not null unique default 'wa_' || replace(gen_random_uuid()::text, '-', ''),
     instance_name text,
     number text not null check (number ~ '^[0-9]{5,20}$'),
     name text not null check (name <> ''),
     provider text not null check (provider in ('META', 'PILOT_STATUS')),
     state text not null check (state in ('OPEN', 'CONNECTING', 'CLOSE')),
     state_observed_at timestamptz(3) not null default clock_timestamp(),
     phone_number_id text check (phone_number_id ~ '^[0-9]{5,20}$'),
     waba_id text check (waba_id ~ '^[0-9]{5,20}$'),
     created_at timestamptz(3) not null default clock_timestamp(),
     updated_at timestamptz(3) not null default clock_timestamp(),
     primary key (tenant_id, id),
     unique (tenant_id, phone_number_id),
     unique (tenant_id, instance_name),
     check (provider <> 'META' or (phone_number_id is not null and waba_id is not null))
   )`,
  `create index whatsapp_number_listing on whatsapp_number (tenant_id, created_at, id)`,
  `create table api_key (
     tenant_id text not null references tenant,
     id text not null unique default 'key_' || replace(gen_random_uuid()::text, '-', ''),
     name text not null check (name <> ''),
     key_prefix text not null,
     key_last4 text not null,
     hash bytea not null unique,
     number_id text,
     created_at timestamptz(3) not null default clock_timestamp(),
     expires_at timestamptz(3),
     revoked_at timestamptz(3),
     rotated_at timestamptz(3),
     primary key (tenant_id, id),
     foreign key (tenant_id, number_id) references whatsapp_number on delete cascade
   )`,
  `create index api_key_of_number on api_key (tenant_id, number_id)`,
  `create table number_credential (
     tenant_id text not null,
     number_id text not null,
     sealed text not null,
     primary key (tenant_id, number_id),
     foreign key (tenant_id, number_id) references whatsapp_number on delete cascade
   )`,
  `create table number_snapshot (
     tenant_id text not null,
     number_id text not null,
     block text not null check (block in ('phone', 'profile', 'connection')),
     data jsonb,
     observed_at timestamptz(3),
     attempted_at timestamptz(3) not null,
     recorded_at timestamptz(3) not null default clock_timestamp(),
     failure jsonb,
     verdict text check (verdict in ('YES', 'NO')),
     primary key (tenant_id, number_id, block),
     foreign key (tenant_id, number_id) references whatsapp_number on delete cascade,
     check ((data is null) = (observed_at is null))
   )`,
  `create table waba_snapshot (
     tenant_id text not null references tenant,
     waba_id text not null,
     data jsonb,
     observed_at timestamptz(3),
     attempted_at timestamptz(3) not null,
     recorded_at timestamptz(3) not null default clock_timestamp(),
     failure jsonb,
     primary key (tenant_id, waba_id),
     check ((data is null) = (observed_at is null))
   )`,
  // Unlogged: a crash of the server deletes all leases, as it should.
  `create unlogged table refresh_lease (
     tenant_id text not null,
     subject text not null,
     holder text not null,
     expires_at timestamptz(3) not null,
     primary key (tenant_id, subject)
   )`,
];

export async function up(db: Kysely<object>): Promise<void> {
  for (const statement of statements) {
    // oxlint-disable-next-line no-await-in-loop -- one statement after the other
    await sql.raw(statement).execute(db);
  }
}
