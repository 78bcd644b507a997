// Makes the replica set of one and the user of the assets. Safe to run again; a changed password is taken over.
const { readFileSync } = require("fs");
const secret = (name) => readFileSync(`/run/secrets/${name}`, "utf8").trim();
const NOT_YET_INITIALIZED = 94;
const SECONDS = 60;

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

const user = { pwd: secret("mongo_password"), roles: [{ role: "readWriteAnyDatabase", db: "admin" }] };
if (db.getUser("marketdata")) db.updateUser("marketdata", user);
else db.createUser({ user: "marketdata", ...user });
print("replica set rs0 and user marketdata are there");
