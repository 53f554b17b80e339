import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Identity } from '../auth/identity.ts';
import type { Resource } from '../resources/resource.ts';

/** A request after authentication. */
export interface ApiRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly user: Identity;
  readonly incoming: IncomingMessage;
  readonly response: ServerResponse;
  /** Aborts when the client has gone or the server stops. */
  readonly signal: AbortSignal;
  /** Adds a `Warning` header, which kubectl prints. */
  warn(text: string): void;
}

/** What a resource request is aimed at. */
export interface Target {
  readonly resource: Resource;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  readonly subresource: string | undefined;
}

/** An answer with a JSON document. */
export interface Reply {
  readonly code: number;
  readonly body: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A handler either gives the answer or has written it itself (watches). */
export type Handled = Reply | 'answered';
