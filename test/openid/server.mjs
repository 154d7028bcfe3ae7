// An OpenID provider that is not ours (npm oidc-provider), with its routes named
// like Entra's, so that Postern's client meets another reading of the same RFCs.
// Started by openid_test.go as: node server.mjs CONFIG.json
import { X509Certificate, createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import Provider, { errors } from 'oidc-provider';

const config = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const base = `https://localhost:${config.port}`;
const tenantID = '99999999-8888-7777-6666-555555555555';
const v2 = `/${config.tenant}/oauth2/v2.0`;
const discovery = `/${config.tenant}/v2.0/.well-known/openid-configuration`;

const app = {
  redirect_uris: [config.redirect],
  response_types: ['code'],
  grant_types: ['authorization_code', 'refresh_token', 'client_credentials', 'urn:ietf:params:oauth:grant-type:device_code'],
};
const certificate = new X509Certificate(config.certificate);
const thumbprint = createHash('sha256').update(certificate.raw).digest('base64url');

// A page for people has one form, with its buttons in it.
const page = (title, form, buttons = '<button>Continue</button>') => (
  `<!DOCTYPE html><title>${title}</title><h1>${title}</h1>${form.replace('</form>', `${buttons}</form>`)}`
);

const provider = new Provider(`${base}/${tenantID}/v2.0`, {
  clients: [
    { ...app, client_id: config.bySecret, client_secret: config.secret, token_endpoint_auth_method: 'client_secret_post' },
    {
      ...app,
      client_id: config.byCertificate,
      token_endpoint_auth_method: 'private_key_jwt',
      token_endpoint_auth_signing_alg: 'PS256',
      jwks: { keys: [{ ...certificate.publicKey.export({ format: 'jwk' }), use: 'sig', alg: 'PS256' }] },
    },
  ],
  jwks: { keys: [{ ...generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' }), use: 'sig' }] },
  cookies: { keys: [randomBytes(32).toString('hex')] },
  clientAuthMethods: ['client_secret_post', 'private_key_jwt'],
  enabledJWA: { clientAuthSigningAlgValues: ['PS256'] },
  // Entra finds the certificate by its thumbprint; a signature alone is not enough.
  assertJwtClientAuthClaimsAndHeader(ctx, claims, header) {
    if (header['x5t#S256'] !== thumbprint) throw new errors.InvalidClientAuth('x5t#S256 names another certificate');
  },
  scopes: ['openid', 'offline_access', ...config.scopes],
  claims: { openid: ['sub', 'oid', 'tid'], profile: ['preferred_username'], email: ['email'] },
  conformIdTokenClaims: false, // as Entra: who signed in stands in the id token
  findAccount: (ctx, id) => ({
    accountId: id,
    claims: () => ({ sub: id, oid: `oid of ${id}`, tid: tenantID, preferred_username: id, email: id }),
  }),
  pkce: { methods: ['S256'], required: () => true },
  rotateRefreshToken: true,
  ttl: { AccessToken: 3600, ClientCredentials: 3600, AuthorizationCode: 600, DeviceCode: 900, IdToken: 3600, RefreshToken: 86400, Interaction: 600, Session: 600, Grant: 86400 },
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    deviceFlow: {
      enabled: true,
      userCodeInputSource: (ctx, form) => { ctx.body = page('Enter code', form); },
      userCodeConfirmSource: (ctx, form) => {
        ctx.body = page('Confirm', form, '<button>Continue</button><button name="abort" value="yes">Cancel</button>');
      },
      successSource: (ctx) => { ctx.body = page('Signed in', ''); },
    },
  },
  routes: {
    authorization: `${v2}/authorize`,
    token: `${v2}/token`,
    device_authorization: `${v2}/devicecode`,
    code_verification: '/common/oauth2/deviceauth',
    jwks: `/${config.tenant}/discovery/v2.0/keys`,
  },
});

// interact signs the person in and agrees in one go, without a page; whoever is
// hinted at as somebody who declines does so.
async function interact(req, res) {
  const { params, prompt, session } = await provider.interactionDetails(req, res);
  const who = params.login_hint ?? config.person;
  if (who.startsWith('declines@')) {
    await provider.interactionFinished(req, res, { error: 'access_denied', error_description: 'the person said no' });
    return;
  }
  if (prompt.name === 'login') {
    await provider.interactionFinished(req, res, { login: { accountId: who } });
    return;
  }
  const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope(params.scope);
  await provider.interactionFinished(req, res, { consent: { grantId: await grant.save() } });
}

const answer = provider.callback();
const tls = { cert: readFileSync(config.cert), key: readFileSync(config.key) };
createServer(tls, (req, res) => {
  if (req.url.startsWith('/interaction/')) {
    interact(req, res).catch((err) => { console.error(err); res.writeHead(500).end(); });
    return;
  }
  if (req.url === discovery) req.url = '/.well-known/openid-configuration'; // the one route without a setting
  // Entra gives offline_access without a prompt, and knows one that has no meaning here.
  if (req.url.startsWith(`${v2}/authorize?`)) req.url = `${req.url.replace('&prompt=select_account', '')}&prompt=consent`;
  answer(req, res);
}).listen(config.port, '127.0.0.1');
