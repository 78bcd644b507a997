// Makes the replica set of one, the user of the assets and one who reads. Safe to run again; a changed password is taken over.
const { readFileSync } = require("fs");
const secret = (name) => readFileSync(`/run/secrets/${name}`, "utf8").trim();
const NOT_YET_INITIALIZED = 94;
const SECONDS = 60;
// The names of MARKETDATA_MONGO_DATABASES have to be here too, where it is set.
const DATABASES = [
  "regular_alphas",
  "super_alphas",
  "alpha_pnl",
  "alpha_daily_pnl",
  "alpha_yearly_stats",
  "alpha_turnover",
  "alpha_sharpe",
  "alpha_self_correlation",
  "alpha_prod_correlation",
  "alpha_power_pool_correlation",
  "alpha_submission_check",
  "brain_operators",
  "brain_data_sets",
  "brain_data_fields",
];

db = connect("mongodb://mongodb:27017/admin?directConnection=true");
db.auth("root", secret("mongo_root_password"));

try {
  db.adminCommand({ replSetGetStatus: 1 });
} catch (error) {
  if (error.code !== NOT_YET_INITIALIZED) throw error;
  db.adminCommand({ replSetInitiate: { _id: "rs0", members: [{ _id: 0, host: "mongodb:27017" }] } });
}
for (let waited = 0; !db.hello().isWritablePrimary; waited++) {
  if (waited === SECONDS) throw new Error(`mongodb is no primary after ${SECONDS} s`);
  sleep(1000);
}

const users = [
  ["marketdata", "mongo_password", "readWrite"],
  ["reader", "mongo_reader_password", "read"],
];
for (const [name, password, role] of users) {
  const user = { pwd: secret(password), roles: DATABASES.map((database) => ({ role, db: database })) };
  if (db.getUser(name)) db.updateUser(name, user);
  else db.createUser({ user: name, ...user });
}
print("replica set rs0 and users marketdata and reader are there");
